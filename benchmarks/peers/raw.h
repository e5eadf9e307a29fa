/* What the raw client and the raw sink share. */
#ifndef RAW_H
#define RAW_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    _exit(1);
}

static void send_all(int sock, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t sent = send(sock, data, size, MSG_NOSIGNAL);
        if (sent < 0) die("send");
        data += sent;
        size -= sent;
    }
}

static uint32_t be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static uint32_t le32(const uint8_t *at) {
    return (uint32_t)at[3] << 24 | at[2] << 16 | at[1] << 8 | at[0];
}

static inline void put_be32(uint8_t *at, uint32_t value) {
    at[0] = value >> 24, at[1] = value >> 16, at[2] = value >> 8, at[3] = value;
}

/* Find an element of a command set (implicit VR little endian, group 0). */
static const uint8_t *command_element(const uint8_t *at, const uint8_t *end, uint16_t element, uint32_t *length) {
    while (at + 8 <= end) {
        uint32_t size = le32(at + 4);
        if (at + 8 + size > end) return NULL;
        if ((at[2] | at[3] << 8) == element) {
            *length = size;
            return at + 8;
        }
        at += 8 + size;
    }
    return NULL;
}
#endif
