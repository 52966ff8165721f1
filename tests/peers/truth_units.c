/* Modbus units whose registers say whose they are and when: libmodbus does the talking.
 *
 *     cc -O2 truth_units.c -o truth_units -lmodbus -lpthread
 *     truth_units tcp:PORT … rtu:UNIT:PATH …
 *
 * Two registers from each even address a on hold  unit << 24 | a / 2 << 16 | tick,  tick = wall clock / 5 ms, 16 bits of it: a value
 * that another register, another unit or another time held is recognised without asking. One thread a line; a TCP port answers for
 * every unit id and takes one connection at a time, a serial line has one unit (its relay joins several to one bus).
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REGISTERS = 512, TICK_MS = 5 };

static uint16_t tick(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint16_t)((now.tv_sec * 1000ull + now.tv_nsec / 1000000) / TICK_MS);
}

static void answer(modbus_t *line, modbus_mapping_t *map, const uint8_t *request, int length, int header)
{
    uint8_t unit = request[header - 1];
    uint16_t now = tick();
    unsigned first = (request[header + 1] << 8 | request[header + 2]) & ~1u;
    for (unsigned a = first; a < first + 126 && a < REGISTERS; a++)
        map->tab_registers[a] = a % 2 ? now : (uint16_t)(unit << 8 | a / 2);
    modbus_reply(line, request, length, map);
}

static void serve(modbus_t *line, modbus_mapping_t *map)
{
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    int header = modbus_get_header_length(line), length;
    while ((length = modbus_receive(line, request)) != -1)
        if (length > 0)
            answer(line, map, request, length, header);
}

static void *line_of(void *what)
{
    const char *text = what;
    modbus_mapping_t *map = modbus_mapping_new(0, 0, REGISTERS, 0);
    if (!strncmp(text, "tcp:", 4)) {
        modbus_t *line = modbus_new_tcp("127.0.0.1", atoi(text + 4));
        int listener = modbus_tcp_listen(line, 4);
        if (listener < 0)
            return fprintf(stderr, "%s: %s\n", text, modbus_strerror(errno)), exit(1), NULL;
        for (;;) {
            if (modbus_tcp_accept(line, &listener) >= 0)
                serve(line, map);
            modbus_close(line);
        }
    }
    modbus_t *line = modbus_new_rtu(strchr(text + 4, ':') + 1, 115200, 'N', 8, 1);
    modbus_set_slave(line, atoi(text + 4));
    if (modbus_connect(line) == -1)
        return fprintf(stderr, "%s: %s\n", text, modbus_strerror(errno)), exit(1), NULL;
    for (;;)
        serve(line, map);
}

int main(int count, char **lines)
{
    pthread_t thread;
    for (int n = 1; n < count; n++)
        if (pthread_create(&thread, NULL, line_of, lines[n]))
            return 1;
    usleep(100000); /* ports listen, or a thread has ended us */
    puts("ready");
    fflush(stdout);
    pause();
}
