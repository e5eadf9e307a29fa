/* A client that is not the bottleneck: sends one prepared C-STORE message again and again, under another SOP
 * Instance UID each time, on several associations at once (a process each).
 *
 *   raw_client PORT REQUEST MESSAGE COUNT ASSOCIATIONS FIRST DIGITS OFFSET...
 *
 * REQUEST and MESSAGE are files with a whole A-ASSOCIATE-RQ and a whole C-STORE-RQ as they go over the wire. The
 * UID ends in DIGITS digits at each OFFSET of the message. COUNT messages are divided among the associations.
 * With ABANDON in the environment the associations are not released: the connections are closed.
 * Prints the seconds from the first message to the last answer, and how many answers were not 0000.
 */
#include "raw.h"
#include <pthread.h>
#include <time.h>

struct shared {
    pthread_barrier_t barrier;
    struct { double begin, end; long failed; } of[64];
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static uint8_t *whole_file(const char *path, size_t *size) {
    struct stat status;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status)) die(path);
    uint8_t *data = malloc(status.st_size);
    for (size_t at = 0; at < (size_t)status.st_size;) {
        ssize_t got = read(file, data + at, status.st_size - at);
        if (got <= 0) die(path);
        at += got;
    }
    close(file);
    *size = status.st_size;
    return data;
}

static void receive_exactly(int sock, uint8_t *buffer, size_t size) {
    while (size) {
        ssize_t got = recv(sock, buffer, size, 0);
        if (got <= 0) die("recv");
        buffer += got;
        size -= got;
    }
}

/* Receive a PDU; return its type and the size of its body. */
static int receive_pdu(int sock, uint8_t *buffer, size_t room, size_t *size) {
    /* One recv is enough for an answer that came whole. */
    ssize_t got = recv(sock, buffer, room, 0);
    if (got <= 0) die("recv");
    if (got < 6) receive_exactly(sock, buffer + got, 6 - got), got = 6;
    *size = be32(buffer + 2);
    if (*size + 6 > room) die("a PDU that is too long");
    if ((size_t)got < *size + 6) receive_exactly(sock, buffer + got, *size + 6 - got);
    return buffer[0];
}

static int status_of(int sock) {
    uint8_t buffer[65536];
    size_t size;
    if (receive_pdu(sock, buffer, sizeof buffer, &size) != 4) return -1;
    uint32_t length;
    const uint8_t *value = command_element(buffer + 12, buffer + 6 + size, 0x0900, &length);
    return value ? value[0] | value[1] << 8 : -1;
}

int main(int count, char **arguments) {
    if (count < 9) return 2;
    int port = atoi(arguments[1]);
    size_t request_size, message_size;
    uint8_t *request = whole_file(arguments[2], &request_size);
    uint8_t *message = whole_file(arguments[3], &message_size);
    long total = atol(arguments[4]), associations = atol(arguments[5]), first = atol(arguments[6]);
    int digits = atoi(arguments[7]);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, associations);
    for (long number = 0; number < associations; number++) {
        if (fork()) continue;
        alarm(900);
        int sock = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(sock, (struct sockaddr *)&address, sizeof address)) die("connect");
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        uint8_t buffer[65536];
        size_t size;
        send_all(sock, request, request_size);
        if (receive_pdu(sock, buffer, sizeof buffer, &size) != 2) die("no A-ASSOCIATE-AC");
        pthread_barrier_wait(&shared->barrier);
        shared->of[number].begin = now();
        for (long at = number; at < total; at += associations) {
            char text[32];
            snprintf(text, sizeof text, "%0*ld", digits, first + at);
            for (int argument = 8; argument < count; argument++)
                memcpy(message + atol(arguments[argument]), text, digits);
            send_all(sock, message, message_size);
            if (status_of(sock) != 0) shared->of[number].failed++;
        }
        shared->of[number].end = now();
        if (getenv("ABANDON")) _exit(0);
        send_all(sock, (const uint8_t *)"\5\0\0\0\0\4\0\0\0\0", 10);
        receive_pdu(sock, buffer, sizeof buffer, &size);
        close(sock);
        _exit(0);
    }
    int status, bad = 0;
    while (wait(&status) > 0) bad |= status;
    double begin = shared->of[0].begin, end = shared->of[0].end;
    long failed = 0;
    for (long number = 0; number < associations; number++) {
        if (shared->of[number].begin < begin) begin = shared->of[number].begin;
        if (shared->of[number].end > end) end = shared->of[number].end;
        failed += shared->of[number].failed;
    }
    printf("%.9f %ld\n", end - begin, failed);
    return bad != 0;
}
