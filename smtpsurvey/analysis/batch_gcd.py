"""Common factors among many RSA moduli, in quasi-linear time.

A modulus that shares a prime with another is broken by one gcd (Heninger et al., "Mining your Ps and Qs", USENIX
Security 2012; Lenstra et al., "Public keys", CRYPTO 2012). For all pairs at once: with P the product of the moduli,
gcd(n, (P / n) mod n) is what n shares with the others (Bernstein, "How to find smooth parts of integers", 2004). What
goes down the remainder tree here is not P but D, the sum of P / n over all n: its other terms are divisible by n, so
D mod n is (P / n) mod n, and no node has to be squared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmpy2 import gcd, mpz

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LEAVES = 65_536
"""Moduli in a chunk, whose own tree is made when the remainders have come down to it, and then dropped."""


def common_factors(moduli: Iterable[int], leaves: int = LEAVES) -> dict[int, tuple[int, ...]]:
    """Give the moduli (all above 1) that share a factor with another, and these factors.

    Where the moduli are products of two primes, the factors are primes: one, or both. Memory at most is about that
    of the moduli times the binary logarithm of the number of chunks, and that of the tree of one chunk.
    """
    tree = _Tree([mpz(modulus) for modulus in dict.fromkeys(moduli)], leaves)
    shared = {modulus: factor for modulus, factor in tree.shared() if factor != 1}
    return {int(modulus): tuple(map(int, _split(modulus, factor, shared))) for modulus, factor in shared.items()}


class _Tree:
    """The upper part of the tree, whose leaves are chunks; nodes are ranges of the moduli."""

    def __init__(self, moduli: list[mpz], leaves: int) -> None:
        self._moduli = moduli
        self._leaves = leaves
        self._products: dict[tuple[int, int], mpz] = {}

    def shared(self) -> Iterator[tuple[mpz, mpz]]:
        """Give each modulus and its greatest common divisor with the product of the others."""
        count = len(self._moduli)
        if count > 1:
            yield from self._descend(0, count, self._ascend(0, count)[1])

    def _ascend(self, start: int, end: int) -> tuple[mpz, mpz]:
        """Give the product of a range, and the sum of the products without each one (of the root that alone)."""
        if end - start == 1:
            return self._moduli[start], mpz(1)
        middle = (start + end) // 2
        left, left_sum = self._ascend(start, middle)
        right, right_sum = self._ascend(middle, end)
        if end - start > self._leaves:
            self._products[start, middle], self._products[middle, end] = left, right
        total = left_sum * right
        total += right_sum * left
        return (mpz() if end - start == len(self._moduli) else left * right), total

    def _descend(self, start: int, end: int, remainder: mpz) -> Iterator[tuple[mpz, mpz]]:
        """Reduce what is left of D, as far as one chunk, and there to the moduli."""
        if end - start <= self._leaves:
            yield from _chunk(self._moduli[start:end], remainder)
            return
        middle = (start + end) // 2
        left = remainder % self._products.pop((start, middle))
        right = remainder % self._products.pop((middle, end))
        del remainder  # the largest numbers go first
        yield from self._descend(start, middle, left)
        del left
        yield from self._descend(middle, end, right)


def _chunk(moduli: list[mpz], remainder: mpz) -> Iterator[tuple[mpz, mpz]]:
    levels = [moduli]
    while len(level := levels[-1]) > 1:
        odd = level[len(level) & ~1 :]  # a node without a partner goes up as it is
        levels.append([level[at] * level[at + 1] for at in range(0, len(level) - 1, 2)] + odd)
    remainders = [remainder % levels.pop()[0]]
    while levels:
        remainders = [remainders[at // 2] % node for at, node in enumerate(levels.pop())]
    for modulus, rest in zip(moduli, remainders, strict=True):
        yield modulus, gcd(modulus, rest)


def _split(modulus: mpz, factor: mpz, others: Iterable[mpz]) -> tuple[mpz, ...]:
    """Part the factors of a modulus that shares all of them: with one other it shares one of them alone."""
    if factor != modulus:
        return (factor,)
    for other in others:
        part = gcd(modulus, other)
        if 1 < part < modulus:
            return part, modulus // part
    return (factor,)
