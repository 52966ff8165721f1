/* A field of Modbus TCP units that costs next to nothing: what is measured is who asks it.
 *
 *     cc -O2 field.c -o field
 *     field PORT …          "ready" on stdout; on SIGUSR1 one line: {"requests": …, "registers": …} since its start
 *
 * Any unit id, function 3, up to 125 registers. Register 0 counts the reads; the others drift by one now and then, each from its own place.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024, BUFFER = 4096, HEAD = 12 };

static struct { uint8_t bytes[BUFFER]; int held; int listens; } peers[MOST];
static uint64_t requests, registers;
static volatile sig_atomic_t asked_for;

static void ask(int signal) { (void)signal; asked_for = 1; }

static int reply(const uint8_t *asked, uint8_t *out)
{
    unsigned first = asked[8] << 8 | asked[9], count = asked[10] << 8 | asked[11];
    memcpy(out, asked, 8);
    out[4] = 0;
    if (asked[7] != 3 || count < 1 || count > 125) {
        out[5] = 3, out[7] |= 0x80, out[8] = 1;
        return 9;
    }
    out[5] = 3 + 2 * count, out[8] = 2 * count;
    requests++, registers += count;
    for (unsigned n = 0; n < count; n++) {
        unsigned a = first + n;
        uint16_t value = a ? 1000 + 37 * a + asked[6] + (requests >> (8 + a % 5)) : requests;
        out[9 + 2 * n] = value >> 8, out[10 + 2 * n] = value;
    }
    return 9 + 2 * count;
}

static void serve(int fd)
{
    static uint8_t out[BUFFER / HEAD * 260];
    ssize_t got = read(fd, peers[fd].bytes + peers[fd].held, BUFFER - peers[fd].held);
    if (got <= 0) {
        close(fd);
        return;
    }
    int held = peers[fd].held + got, at = 0, length = 0;
    for (; held - at >= HEAD; at += HEAD)
        length += reply(peers[fd].bytes + at, out + length);
    memmove(peers[fd].bytes, peers[fd].bytes + at, held - at);
    peers[fd].held = held - at;
    if (length && write(fd, out, length) != length)
        close(fd);
}

static void watch(int epoll, int fd, int listens)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    peers[fd].held = 0, peers[fd].listens = listens;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **ports)
{
    int epoll = epoll_create1(0), one = 1;
    for (int n = 1; n < count; n++) {
        struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(ports[n])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&here, sizeof here) || listen(fd, 64))
            return perror(ports[n]), 1;
        watch(epoll, fd, 1);
    }
    struct sigaction act = {.sa_handler = ask};
    sigaction(SIGUSR1, &act, NULL);
    puts("ready"), fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        if (asked_for) {
            printf("{\"requests\": %llu, \"registers\": %llu}\n", (unsigned long long)requests, (unsigned long long)registers);
            fflush(stdout), asked_for = 0;
        }
        for (int n = 0; n < ready; n++) {
            int fd = events[n].data.fd;
            if (!peers[fd].listens) {
                serve(fd);
                continue;
            }
            int peer = accept(fd, NULL, NULL);
            if (peer < 0 || peer >= MOST)
                continue;
            setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            watch(epoll, peer, 0);
        }
    }
}
