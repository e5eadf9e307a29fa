/* The least that a C-STORE SCP can do: a process for each connection, fragments written to a file as they come,
 * no look at the data set.
 *
 *   raw_sink PORT DIRECTORY MAX_PDU
 */
#include "raw.h"
#include <signal.h>

enum { BUFFER = 1 << 20, FRAGMENTS = 1024 };
static uint8_t buffer[BUFFER];
static size_t begin, end;
static struct iovec fragments[FRAGMENTS];
static int count, file = -1;

static void flush_fragments(void) {
    for (int at = 0; at < count;) {
        ssize_t written = writev(file, fragments + at, count - at);
        if (written < 0) die("writev");
        while (at < count && (size_t)written >= fragments[at].iov_len) written -= fragments[at++].iov_len;
        if (at < count) {
            fragments[at].iov_base = (uint8_t *)fragments[at].iov_base + written;
            fragments[at].iov_len -= written;
        }
    }
    count = 0;
}

static int need(int sock, size_t size) {
    if (end - begin >= size) return 1;
    if (BUFFER - begin < (size > BUFFER / 4 ? size : BUFFER / 4)) {
        flush_fragments();
        memmove(buffer, buffer + begin, end - begin);
        end -= begin, begin = 0;
    }
    while (end - begin < size) {
        ssize_t got = recv(sock, buffer + end, BUFFER - end, 0);
        if (got <= 0) return 0;
        end += got;
    }
    return 1;
}

static void accept_association(int sock, const uint8_t *body, size_t size, uint32_t longest) {
    static uint8_t answer[65536];
    uint8_t *out = answer + 6;
    memcpy(out, body, 68);
    out += 68;
    for (const uint8_t *item = body + 68; item + 4 <= body + size; item += 4 + (item[2] << 8 | item[3])) {
        if (item[0] == 0x10) {
            size_t length = 4 + (item[2] << 8 | item[3]);
            memcpy(out, item, length);
            out += length;
        } else if (item[0] == 0x20) {
            const uint8_t *part = item + 8;
            while (part[0] != 0x40) part += 4 + (part[2] << 8 | part[3]);
            size_t length = 4 + (part[2] << 8 | part[3]);
            uint8_t head[8] = {0x21, 0, (length + 4) >> 8, (length + 4) & 255, item[4], 0, 0, 0};
            memcpy(out, head, 8);
            memcpy(out + 8, part, length);
            out += 8 + length;
        }
    }
    uint8_t user[21] = {0x50, 0, 0, 17, 0x51, 0, 0, 4, 0, 0, 0, 0, 0x52, 0, 0, 5, '1', '.', '2', '.', '3'};
    put_be32(user + 8, longest);
    memcpy(out, user, 21);
    out += 21;
    answer[0] = 2, answer[1] = 0;
    put_be32(answer + 2, out - answer - 6);
    send_all(sock, answer, out - answer);
}

static void respond(int sock, uint8_t context, const uint8_t *message_id) {
    uint8_t answer[12 + 12 + 4 * 10] = {4, 0, 0, 0, 0, 0, 0, 0, 0, 0, context, 3, 0, 0, 0, 0, 4, 0, 0, 0, 40};
    put_be32(answer + 2, sizeof answer - 6);
    put_be32(answer + 6, sizeof answer - 10);
    uint8_t *at = answer + 24;
    const uint8_t values[4][10] = {{0, 0, 0, 1, 2, 0, 0, 0, 1, 0x80},
                                   {0, 0, 0x20, 1, 2, 0, 0, 0, message_id[0], message_id[1]},
                                   {0, 0, 0, 8, 2, 0, 0, 0, 1, 1},
                                   {0, 0, 0, 9, 2, 0, 0, 0, 0, 0}};
    memcpy(at, values, sizeof values);
    send_all(sock, answer, sizeof answer);
}

static void serve(int sock, const char *directory, uint32_t longest) {
    char path[4096];
    uint8_t message_id[2] = {0, 0};
    while (need(sock, 6)) {
        uint8_t kind = buffer[begin];
        size_t size = be32(buffer + begin + 2);
        if (!need(sock, 6 + size)) return;
        uint8_t *at = buffer + begin + 6, *stop = at + size;
        begin += 6 + size;
        if (kind == 1) accept_association(sock, at, size, longest);
        if (kind == 5) {
            send_all(sock, (const uint8_t *)"\6\0\0\0\0\4\0\0\0\0", 10);
            return;
        }
        if (kind != 4) continue;
        while (at + 6 <= stop) {
            uint32_t length = be32(at);
            uint8_t context = at[4], control = at[5];
            if (control & 1) {
                uint32_t size_of;
                const uint8_t *uid = command_element(at + 6, at + 4 + length, 0x1000, &size_of);
                const uint8_t *id = command_element(at + 6, at + 4 + length, 0x0110, &size_of);
                if (!uid || !id) return;
                memcpy(message_id, id, 2);
                snprintf(path, sizeof path, "%s/%.64s", directory, uid);
                file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
                if (file < 0) die(path);
            } else {
                fragments[count++] = (struct iovec){at + 6, length - 2};
                if (count == FRAGMENTS || control & 2) flush_fragments();
                if (control & 2) {
                    close(file);
                    respond(sock, context, message_id);
                }
            }
            at += 4 + length;
        }
        if (begin == end && !count) begin = end = 0;
    }
}

static void reap(int signal_number) {
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) continue; /* so that their CPU time is counted */
}

int main(int argument_count, char **arguments) {
    if (argument_count != 4) return 2;
    signal(SIGCHLD, reap);
    int server = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 64)) die("bind");
    for (;;) {
        int sock = accept(server, NULL, NULL);
        if (sock < 0) continue;
        if (fork() == 0) {
            setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            serve(sock, arguments[2], atoi(arguments[3]));
            _exit(0);
        }
        close(sock);
    }
}
