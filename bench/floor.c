/* floor.c - the least a survey of mail servers costs: one thread, one epoll set, no language runtime.
 *
 *   floor -f TARGETS -p PORT [-c IN_FLIGHT] [-t] [-x SECONDS]
 *
 * TARGETS holds one 127.x.y.z a line. Each is connected to and spoken with as smtpsurvey does: greeting, EHLO,
 * with -t also STARTTLS, a full TLS handshake (nothing verified) and the leaf certificate read out as DER, then
 * QUIT and its reply. At the end one line of JSON counts what was seen. Addresses outside 127.0.0.0/8 are an
 * error, and the program ends by itself after -x seconds (default 300, exit status 142 by SIGALRM).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 20480, MAX_REPLY = 1024, MAX_EVENTS = 512 };

/* What a connection waits for. */
enum stage { GREETING, EHLO, STARTTLS, HANDSHAKE, QUIT };

struct probe {
    enum stage stage;
    SSL *tls; /* NULL while in plain text */
    size_t used; /* bytes of the current reply in buffer */
    char buffer[MAX_REPLY];
};

static struct probe probes[MAX_FD]; /* indexed by descriptor */
static struct in_addr *targets;
static size_t target_count, next_target;
static int epoll_fd, port = 2525, in_flight, with_tls;
static SSL_CTX *tls_context;
static unsigned long ok, refused, failed, tls_ok, leaf_bytes;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void finish(int fd, int error) {
    if (!error) ok++;
    else if (error == ECONNREFUSED) refused++;
    else failed++;
    SSL_free(probes[fd].tls);
    probes[fd].tls = NULL;
    close(fd); /* leaves the epoll set too */
    in_flight--;
}

static void start(struct in_addr address) {
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || fd >= MAX_FD) die("socket");
    probes[fd].stage = GREETING;
    probes[fd].used = 0;
    in_flight++;
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) && errno != EINPROGRESS) {
        finish(fd, errno);
        return;
    }
    /* The server speaks first: readable is all there is to wait for, errors come unasked. */
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

/* Is there a complete reply, whose last line has a space after the code (RFC 5321, 4.2.1)? */
static int complete(const struct probe *p) {
    const char *line = p->buffer, *end = p->buffer + p->used, *lf;
    while ((lf = memchr(line, '\n', end - line))) {
        if (lf - line > 3 && line[3] == ' ') return 1;
        line = lf + 1;
    }
    return 0;
}

static void command(int fd, enum stage next, const char *text) {
    struct probe *p = &probes[fd];
    ssize_t length = strlen(text);
    ssize_t sent = p->tls ? SSL_write(p->tls, text, length) : send(fd, text, length, MSG_NOSIGNAL);
    p->stage = next;
    p->used = 0;
    if (sent != length) finish(fd, EPIPE);
}

static void read_leaf(SSL *tls) {
    unsigned char *der = NULL;
    X509 *leaf = SSL_get1_peer_certificate(tls);
    int length = leaf ? i2d_X509(leaf, &der) : 0;
    if (length > 0) leaf_bytes += length;
    OPENSSL_free(der);
    X509_free(leaf);
}

static void handshake(int fd) {
    SSL *tls = probes[fd].tls;
    int result = SSL_do_handshake(tls);
    if (result == 1) {
        tls_ok++;
        read_leaf(tls);
        command(fd, QUIT, "QUIT\r\n");
    } else if (SSL_get_error(tls, result) != SSL_ERROR_WANT_READ) {
        ERR_clear_error();
        finish(fd, EPROTO);
    }
}

static void start_tls(int fd) {
    struct probe *p = &probes[fd];
    p->tls = SSL_new(tls_context);
    SSL_set_fd(p->tls, fd);
    SSL_set_connect_state(p->tls);
    p->stage = HANDSHAKE;
    handshake(fd);
}

/* A complete reply has come: the next step of the conversation. */
static void advance(int fd) {
    struct probe *p = &probes[fd];
    const char *expected = p->stage == EHLO ? "250" : p->stage == QUIT ? "221" : "220";
    if (memcmp(p->buffer, expected, 3)) {
        finish(fd, EPROTO);
        return;
    }
    switch (p->stage) {
    case GREETING:
        command(fd, EHLO, "EHLO survey.example.org\r\n");
        break;
    case EHLO:
        if (with_tls && memmem(p->buffer, p->used, "STARTTLS", 8)) command(fd, STARTTLS, "STARTTLS\r\n");
        else command(fd, QUIT, "QUIT\r\n");
        break;
    case STARTTLS:
        start_tls(fd);
        break;
    default:
        finish(fd, 0);
    }
}

/* Reads what there is; 0 or more bytes, or -1 when the probe is over. */
static ssize_t receive(int fd) {
    struct probe *p = &probes[fd];
    size_t room = MAX_REPLY - p->used;
    ssize_t got;
    if (p->tls) {
        got = SSL_read(p->tls, p->buffer + p->used, room);
        if (got <= 0 && SSL_get_error(p->tls, got) == SSL_ERROR_WANT_READ) return 0;
    } else {
        got = recv(fd, p->buffer + p->used, room, 0);
        if (got < 0 && errno == EAGAIN) return 0;
    }
    if (got > 0) return got;
    ERR_clear_error();
    finish(fd, EPIPE);
    return -1;
}

static void ready(int fd, unsigned events) {
    struct probe *p = &probes[fd];
    if (p->stage == HANDSHAKE) {
        handshake(fd);
        return;
    }
    if (events & EPOLLERR) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        finish(fd, error ? error : EIO);
        return;
    }
    ssize_t got = receive(fd);
    if (got <= 0) return;
    p->used += got;
    if (complete(p)) advance(fd);
    else if (p->used == MAX_REPLY) finish(fd, EMSGSIZE);
}

static void read_targets(const char *path) {
    FILE *list = fopen(path, "r");
    char line[64];
    size_t room = 0;
    if (!list) die(path);
    while (fgets(line, sizeof line, list)) {
        struct in_addr address;
        line[strcspn(line, "\r\n")] = 0;
        if (!inet_aton(line, &address) || ntohl(address.s_addr) >> 24 != 127) {
            fprintf(stderr, "%s: not a loopback address: %s\n", path, line);
            exit(1);
        }
        if (target_count == room) {
            room = room ? room * 2 : 4096;
            if (!(targets = realloc(targets, room * sizeof *targets))) die("realloc");
        }
        targets[target_count++] = address;
    }
    fclose(list);
}

static void make_tls_context(void) {
    tls_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_quiet_shutdown(tls_context, 1);
}

int main(int argc, char **argv) {
    int option, limit = 1000, seconds = 300;
    const char *path = NULL;
    while ((option = getopt(argc, argv, "f:p:c:tx:")) > 0) {
        switch (option) {
        case 'f': path = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'c': limit = atoi(optarg); break;
        case 't': with_tls = 1; break;
        case 'x': seconds = atoi(optarg); break;
        default: return 2;
        }
    }
    if (!path) return 2;
    alarm(seconds);
    signal(SIGPIPE, SIG_IGN); /* SSL_write has no MSG_NOSIGNAL */
    read_targets(path);
    if (with_tls) make_tls_context();
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");

    struct epoll_event events[MAX_EVENTS];
    while (next_target < target_count || in_flight) {
        while (in_flight < limit && next_target < target_count) start(targets[next_target++]);
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, 1000);
        for (int i = 0; i < count; i++) ready(events[i].data.fd, events[i].events);
    }
    printf("{\"targets\": %zu, \"ok\": %lu, \"refused\": %lu, \"failed\": %lu, \"tls\": %lu, \"leaf_bytes\": %lu}\n",
           target_count, ok, refused, failed, tls_ok, leaf_bytes);
    return 0;
}
