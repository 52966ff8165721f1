/* qemu-user lacks TCGETS2/TCSETS2, which open every serial port: map them to TCGETS/TCSETS. For proofs under the emulator only;
 * on real hardware nothing of this is needed. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <string.h>
#include <dlfcn.h>
#include <asm/termbits.h>
#include <asm/ioctls.h>
static const struct { unsigned bits, speed; } SPEEDS[] = {
  {B1200, 1200}, {B2400, 2400}, {B4800, 4800}, {B9600, 9600}, {B19200, 19200}, {B38400, 38400},
  {B57600, 57600}, {B115200, 115200}, {B230400, 230400}, {B460800, 460800}, {B921600, 921600}};
#define COUNT (sizeof SPEEDS / sizeof *SPEEDS)
int ioctl(int fd, unsigned long request, ...) {
  static int (*real)(int, unsigned long, ...);
  if (!real) real = dlsym(RTLD_NEXT, "ioctl");
  va_list ap; va_start(ap, request); void *argument = va_arg(ap, void *); va_end(ap);
  if ((unsigned)request == (unsigned)TCGETS2) {
    struct termios plain;
    int failed = real(fd, TCGETS, &plain);
    if (failed) return failed;
    struct termios2 *wide = argument;
    memcpy(wide, &plain, sizeof plain);
    unsigned speed = 0;
    for (unsigned i = 0; i < COUNT; i++) if ((plain.c_cflag & CBAUD) == SPEEDS[i].bits) speed = SPEEDS[i].speed;
    wide->c_ispeed = wide->c_ospeed = speed;
    return 0;
  }
  if ((unsigned)request == (unsigned)TCSETS2) {
    struct termios2 *wide = argument;
    struct termios plain;
    memcpy(&plain, wide, sizeof plain);
    unsigned bits = B38400;
    for (unsigned i = 0; i < COUNT; i++) if (wide->c_ospeed == SPEEDS[i].speed) bits = SPEEDS[i].bits;
    if ((wide->c_cflag & CBAUD) != BOTHER) bits = wide->c_cflag & CBAUD;
    plain.c_cflag = (plain.c_cflag & ~(CBAUD | (CBAUD << 16))) | bits;
    return real(fd, TCSETS, &plain);
  }
  return real(fd, request, argument);
}
