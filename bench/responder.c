/* responder.c - a mail server that costs as little as it can, so that a bench measures the client.
 *
 *   responder -p PORT [-l LIST] [-c CERT.pem -k KEY.pem] [-d MS] [-a ARRIVALS] [-x SECONDS]
 *
 * Without -l one listener answers on every address of 127.0.0.0/8 (all live); with it only the addresses of LIST,
 * one 127.x.y.z a line, have a listener each and all others refuse (a mix). -c and -k offer STARTTLS. -d sends the
 * greeting that many milliseconds after the connection came. -a writes a line a connection: when its handshake was
 * complete (milliseconds, monotonic, from the kernel and so free of our own delay) and the address it was made to.
 * Bound to the loopback interface; says "ready" on stdout; ends on SIGTERM or after -x seconds (default 600).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 20480, MAX_LINE = 256, MAX_EVENTS = 512, BACKLOG = 4096, ACCEPTS_A_TURN = 256 };
enum state { FREE, LISTENING, PLAIN, HANDSHAKE, TLS }; /* a connection moves to the right, then is free */

struct connection {
    enum state state;
    unsigned generation; /* tells a waiting greeting whether its descriptor was used again */
    size_t used;
    SSL *tls;
    char buffer[MAX_LINE];
};
struct waiting { int fd; unsigned generation; long due; }; /* a greeting to come */

#define EHLO_REPLY(KEYWORD) \
    "250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-" KEYWORD "\r\n250-8BITMIME\r\n250 DSN\r\n"
static const char GREETING[] = "220 mx.example.net ESMTP Postfix\r\n";

static struct connection connections[MAX_FD]; /* indexed by descriptor */
static struct waiting waiting[MAX_FD]; /* a ring: greetings in the order they are due */
static unsigned long waiting_head, waiting_tail;
static int epoll_fd, port = 2525, delay;
static SSL_CTX *tls_context;
static FILE *arrivals;
static volatile sig_atomic_t stop;

static void on_signal(int number) {
    stop = number;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static long now(void) { /* milliseconds */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void watch(int fd, enum state state) {
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    connections[fd].state = state;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void drop(int fd) {
    struct connection *c = &connections[fd];
    SSL_free(c->tls);
    c->tls = NULL;
    c->state = FREE;
    c->generation++;
    close(fd);
}

static int say(int fd, const char *text) {
    struct connection *c = &connections[fd];
    ssize_t length = strlen(text);
    ssize_t sent = c->state == TLS ? SSL_write(c->tls, text, length) : send(fd, text, length, MSG_NOSIGNAL);
    return sent == length;
}

/* Answers one command; 0 when the connection is to be closed. */
static int answer(int fd, const char *line) {
    struct connection *c = &connections[fd];
    int offered = tls_context && c->state == PLAIN;
    if (!strncasecmp(line, "EHLO", 4)) return say(fd, offered ? EHLO_REPLY("STARTTLS") : EHLO_REPLY("DELIVERBY"));
    if (!strncasecmp(line, "QUIT", 4)) return say(fd, "221 2.0.0 Bye\r\n") && 0;
    if (!offered || strncasecmp(line, "STARTTLS", 8)) return say(fd, "502 5.5.2 Error: command not recognized\r\n");
    c->state = HANDSHAKE;
    c->tls = SSL_new(tls_context);
    SSL_set_fd(c->tls, fd);
    SSL_set_accept_state(c->tls);
    return say(fd, "220 2.0.0 Ready to start TLS\r\n");
}

/* Answers every complete line; what comes in plain text after STARTTLS is not read as commands. 0: close. */
static int answer_lines(int fd) {
    struct connection *c = &connections[fd];
    char *line = c->buffer, *end = c->buffer + c->used, *lf;
    while ((lf = memchr(line, '\n', end - line))) {
        *lf = 0;
        if (!answer(fd, line)) return 0;
        line = c->state == HANDSHAKE ? end : lf + 1;
    }
    c->used = end - line;
    memmove(c->buffer, line, c->used);
    return c->used < MAX_LINE;
}

/* Shakes hands if need be (SSL_read does it) and answers what came; 0 when the connection is to be closed. */
static int serve_tls(int fd) {
    struct connection *c = &connections[fd];
    int got;
    while ((got = SSL_read(c->tls, c->buffer + c->used, MAX_LINE - c->used)) > 0) {
        c->state = TLS;
        c->used += got;
        if (!answer_lines(fd)) return 0;
    }
    if (SSL_get_error(c->tls, got) == SSL_ERROR_WANT_READ) return 1;
    ERR_clear_error();
    return 0;
}

static int serve_plain(int fd) {
    struct connection *c = &connections[fd];
    ssize_t got = recv(fd, c->buffer + c->used, MAX_LINE - c->used, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    c->used += got;
    return answer_lines(fd);
}

static void log_arrival(int fd) {
    struct sockaddr_in local;
    struct tcp_info info = { 0 };
    socklen_t size = sizeof local, info_size = sizeof info;
    long asked;
    do { /* again if we were held up in between: the kernel tells how long ago it was */
        asked = now();
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_size);
    } while (now() - asked > 1);
    getsockname(fd, (struct sockaddr *)&local, &size);
    fprintf(arrivals, "%ld %s\n", asked - (long)info.tcpi_last_ack_recv, inet_ntoa(local.sin_addr));
}

static void greet(int fd) {
    struct waiting later = { fd, connections[fd].generation, now() + delay };
    if (delay) waiting[waiting_tail++ % MAX_FD] = later;
    else say(fd, GREETING);
}

static void greet_due(void) {
    for (long t = now(); waiting_head < waiting_tail && waiting[waiting_head % MAX_FD].due <= t; waiting_head++) {
        struct waiting *w = &waiting[waiting_head % MAX_FD];
        if (connections[w->fd].generation == w->generation) say(w->fd, GREETING);
    }
}

static void accept_some(int listener) {
    for (int i = 0; i < ACCEPTS_A_TURN && waiting_tail - waiting_head < MAX_FD; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= MAX_FD) die("too many connections");
        watch(fd, PLAIN);
        connections[fd].used = 0;
        if (arrivals) log_arrival(fd);
        greet(fd);
    }
}

static void listen_on(struct in_addr address) {
    struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || fd >= MAX_FD) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited by what is accepted */
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2)) die("SO_BINDTODEVICE"); /* unseen from outside */
    if (bind(fd, (struct sockaddr *)&local, sizeof local) || listen(fd, BACKLOG)) die("bind or listen");
    watch(fd, LISTENING);
}

static void listen_on_list(const char *path) {
    FILE *list = fopen(path, "r");
    char line[64];
    struct in_addr address;
    if (!list) die(path);
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\r\n")] = 0;
        errno = EINVAL; /* inet_aton sets none */
        if (!inet_aton(line, &address) || ntohl(address.s_addr) >> 24 != 127) die(line);
        listen_on(address);
    }
    fclose(list);
}

static void make_tls_context(const char *certificate, const char *key) {
    tls_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_num_tickets(tls_context, 0); /* nobody comes back */
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_quiet_shutdown(tls_context, 1);
    if (SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static void run(void) {
    struct epoll_event events[MAX_EVENTS];
    while (!stop) {
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, waiting_head < waiting_tail ? 5 : 1000);
        greet_due();
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            enum state state = connections[fd].state;
            if (state == LISTENING) accept_some(fd);
            else if (state != FREE && !(state == PLAIN ? serve_plain(fd) : serve_tls(fd))) drop(fd);
        }
    }
}

int main(int argc, char **argv) {
    int option, seconds = 600;
    const char *list = NULL, *certificate = NULL, *key = NULL;
    while ((option = getopt(argc, argv, "p:l:c:k:d:a:x:")) > 0) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'l': list = optarg; break;
        case 'c': certificate = optarg; break;
        case 'k': key = optarg; break;
        case 'd': delay = atoi(optarg); break;
        case 'a': if (!(arrivals = fopen(optarg, "w"))) die(optarg); break;
        case 'x': seconds = atoi(optarg); break;
        default: return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN); /* SSL_write has no MSG_NOSIGNAL */
    signal(SIGTERM, on_signal);
    alarm(seconds);
    if (certificate) make_tls_context(certificate, key);
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    if (list) listen_on_list(list);
    else listen_on((struct in_addr){ htonl(INADDR_ANY) });
    dprintf(STDOUT_FILENO, "ready\n");
    run(); /* the exit flushes the arrivals */
}
