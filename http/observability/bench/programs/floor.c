/* The floor of `observability bench`: the least that a server can do for the same clients. One thread and one epoll
 * loop; a tick writes its number and its time into a snapshot that is otherwise ready, and calls send() once for each
 * client. Requests get an answer that is ready, too. It needs Linux and a C compiler, and nothing else.
 *
 *   floor PORT SNAPSHOT INTERVAL_MS
 *
 * SNAPSHOT is a file whose `"seq":` and `"mono_ns":` are followed by numbers; both are overwritten in place, so they
 * keep their number of digits. A client that has not taken the frame before is left out of a tick. Routes:
 *
 *   GET /api/metrics/current    the snapshot of the last tick, or 304 to the ETag that it bears
 *   GET /health                 a constant
 *   GET /ws...                  WebSocket: a frame on every tick; what the client sends is not read as frames
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SNAPSHOT = 1 << 20, HEAD_BYTES = 2048, FRAME_HEADER = 10, ANSWER_HEAD = 512, BACKLOG = 4096 };

typedef struct Peer {
  int fd;
  int place; /* in `clients`; -1 for a peer that only sends requests */
  uint8_t *rest; /* of a frame that the socket did not take whole */
  size_t rest_bytes, rest_sent;
  size_t head_bytes;
  char head[HEAD_BYTES];
} Peer;

static int epoll_fd;
static Peer **clients;
static int client_count, client_room;
/* The frame: room for the longest header, then the snapshot; the header ends where the snapshot begins. */
static uint8_t frame[FRAME_HEADER + MAX_SNAPSHOT];
static uint8_t *const snapshot = frame + FRAME_HEADER;
static size_t snapshot_bytes, header_bytes;
static uint8_t *seq_digits, *time_digits;
static size_t seq_width, time_width;
static char answer[ANSWER_HEAD + MAX_SNAPSHOT], not_modified[ANSWER_HEAD], tag[32];
static size_t answer_bytes, not_modified_bytes;
static const char health[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n"
                             "{\"status\":\"healthy\",\"service\":\"observability\"}";
static const char not_found[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
static volatile sig_atomic_t is_stopping;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void on_signal(int number) {
  (void)number;
  is_stopping = 1;
}

/* -- the handshake: SHA-1 (RFC 3174) of the key and a constant, in base 64 (RFC 6455, 4.2.2) */

static uint32_t rotated(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static void sha1_block(uint32_t h[5], const uint8_t block[64]) {
  uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
  for (int t = 0; t < 16; t++)
    w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
  for (int t = 16; t < 80; t++) w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  for (int t = 0; t < 80; t++) {
    uint32_t f, k;
    if (t < 20) f = (b & c) | (~b & d), k = 0x5a827999;
    else if (t < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
    else if (t < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
    else f = b ^ c ^ d, k = 0xca62c1d6;
    uint32_t next = rotated(a, 5) + f + e + w[t] + k;
    e = d, d = c, c = rotated(b, 30), b = a, a = next;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

static void accept_key(const char key[24], char out[29]) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  uint8_t text[128] = {0}, digest[21] = {0};
  memcpy(text, key, 24);
  memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
  text[60] = 0x80;
  text[126] = 60 * 8 >> 8;
  text[127] = (60 * 8) & 255;
  sha1_block(h, text);
  sha1_block(h, text + 64);
  for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
  for (int i = 0; i < 7; i++) {
    uint32_t bits = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];
    for (int j = 0; j < 4; j++) out[4 * i + j] = letters[bits >> (18 - 6 * j) & 63];
  }
  out[27] = '='; /* 20 bytes are 27 digits */
  out[28] = 0;
}

/* -- peers */

static void close_peer(Peer *p) {
  if (p->place >= 0) {
    clients[p->place] = clients[--client_count];
    clients[p->place]->place = p->place;
  }
  close(p->fd);
  free(p->rest);
  free(p);
}

static void wait_for(Peer *p, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = p};
  epoll_ctl(epoll_fd, operation, p->fd, &event);
}

static void reply(Peer *p, const void *data, size_t size) {
  /* A peer that does not read its answers loses them. */
  if (send(p->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return;
}

static void subscribe(Peer *p, const char *head) {
  const char *key = strcasestr(head, "\r\nSec-WebSocket-Key:");
  char accepted[29], text[256];
  if (!key || strlen(key += 20 + strspn(key + 20, " ")) < 24) {
    reply(p, not_found, sizeof not_found - 1);
    return;
  }
  accept_key(key, accepted);
  int size = snprintf(text, sizeof text,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\n\r\n", accepted);
  reply(p, text, (size_t)size);
  if (client_count == client_room) {
    client_room = client_room * 2 + 1024;
    clients = realloc(clients, (size_t)client_room * sizeof *clients);
    if (!clients) fail("clients");
  }
  p->place = client_count;
  clients[client_count++] = p;
}

static void answer_request(Peer *p, const char *head) {
  if (!strncmp(head, "GET /api/metrics/current ", 25)) {
    const char *known = strcasestr(head, "\r\nIf-None-Match:");
    if (known && !strncmp(known + 16 + strspn(known + 16, " "), tag, strlen(tag))) reply(p, not_modified, not_modified_bytes);
    else reply(p, answer, answer_bytes);
  } else if (!strncmp(head, "GET /health ", 12)) reply(p, health, sizeof health - 1);
  else if (!strncmp(head, "GET /ws", 7)) subscribe(p, head);
  else reply(p, not_found, sizeof not_found - 1);
}

/* Returns 0 if the peer has gone. */
static int on_readable(Peer *p) {
  ssize_t got = recv(p->fd, p->head + p->head_bytes, HEAD_BYTES - 1 - p->head_bytes, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  if (p->place >= 0) return 1;
  p->head_bytes += (size_t)got;
  p->head[p->head_bytes] = 0;
  char *begin = p->head, *end;
  while (p->place < 0 && (end = strstr(begin, "\r\n\r\n"))) {
    end[2] = 0;
    answer_request(p, begin);
    begin = end + 4;
  }
  p->head_bytes = p->place < 0 ? (size_t)(p->head + p->head_bytes - begin) : 0;
  memmove(p->head, begin, p->head_bytes);
  return p->head_bytes < HEAD_BYTES - 1;
}

static void on_writable(Peer *p) {
  ssize_t sent = p->rest ? send(p->fd, p->rest + p->rest_sent, p->rest_bytes - p->rest_sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
  if (sent > 0) p->rest_sent += (size_t)sent;
  if (p->rest && p->rest_sent < p->rest_bytes) return;
  free(p->rest);
  p->rest = NULL;
  wait_for(p, EPOLL_CTL_MOD, EPOLLIN);
}

static void accept_peers(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    Peer *p = calloc(1, sizeof *p);
    if (!p) fail("peer");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    p->fd = fd;
    p->place = -1;
    wait_for(p, EPOLL_CTL_ADD, EPOLLIN);
  }
}

/* -- the tick */

static void write_digits(uint8_t *at, size_t width, uint64_t value) {
  for (size_t i = width; i--; value /= 10) at[i] = (uint8_t)('0' + value % 10);
}

static void find_digits(const char *key, uint8_t **at, size_t *width) {
  uint8_t *found = memmem(snapshot, snapshot_bytes, key, strlen(key));
  if (!found) {
    fprintf(stderr, "floor: the snapshot has no %s\n", key);
    exit(1);
  }
  *at = found + strlen(key);
  for (*width = 0; (*at)[*width] >= '0' && (*at)[*width] <= '9'; ++*width) {}
}

static void keep_rest(Peer *p, const uint8_t *data, size_t size) {
  p->rest = malloc(size);
  if (!p->rest) fail("rest");
  memcpy(p->rest, data, size);
  p->rest_bytes = size;
  p->rest_sent = 0;
  wait_for(p, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void send_tick(uint64_t seq) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  write_digits(time_digits, time_width, (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec);
  write_digits(seq_digits, seq_width, seq);

  snprintf(tag, sizeof tag, "\"%lu\"", (unsigned long)seq);
  answer_bytes = (size_t)snprintf(answer, ANSWER_HEAD,
                                  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nETag: %s\r\n\r\n",
                                  snapshot_bytes, tag);
  memcpy(answer + answer_bytes, snapshot, snapshot_bytes);
  answer_bytes += snapshot_bytes;
  not_modified_bytes = (size_t)snprintf(not_modified, ANSWER_HEAD, "HTTP/1.1 304 Not Modified\r\nETag: %s\r\n\r\n", tag);

  const uint8_t *begin = snapshot - header_bytes;
  size_t size = header_bytes + snapshot_bytes;
  for (int i = 0; i < client_count; i++) {
    Peer *p = clients[i];
    if (p->rest) continue;
    ssize_t sent = send(p->fd, begin, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)size) continue;
    if (sent < 0 && errno != EAGAIN) continue; /* epoll reports that the connection has ended */
    size_t taken = sent < 0 ? 0 : (size_t)sent;
    keep_rest(p, begin + taken, size - taken);
  }
}

static void write_header(void) {
  size_t extra = snapshot_bytes < 126 ? 0 : snapshot_bytes < 65536 ? 2 : 8;
  header_bytes = 2 + extra;
  uint8_t *header = snapshot - header_bytes;
  header[0] = 0x81;
  header[1] = (uint8_t)(extra == 0 ? snapshot_bytes : extra == 2 ? 126 : 127);
  for (size_t i = 0; i < extra; i++) header[2 + i] = (uint8_t)(snapshot_bytes >> 8 * (extra - 1 - i));
}

static void read_snapshot(const char *name) {
  FILE *file = fopen(name, "r");
  if (!file) fail(name);
  snapshot_bytes = fread(snapshot, 1, MAX_SNAPSHOT, file);
  fclose(file);
  find_digits("\"seq\":", &seq_digits, &seq_width);
  find_digits("\"mono_ns\":", &time_digits, &time_width);
  write_header();
}

static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG)) fail("listen");
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 4 || atoi(argv[1]) <= 0 || atof(argv[3]) <= 0) {
    fprintf(stderr, "usage: floor PORT SNAPSHOT INTERVAL_MS\n");
    return 2;
  }
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);

  read_snapshot(argv[2]);
  int listener = listen_on(atoi(argv[1])), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  uint64_t interval_ns = (uint64_t)(atof(argv[3]) * 1e6), beats;
  uint64_t seq = strtoull((char *)seq_digits, NULL, 10); /* that of the file, so that no digit is a leading zero */
  struct timespec interval = {(time_t)(interval_ns / 1000000000), (long)(interval_ns % 1000000000)};
  struct itimerspec schedule = {interval, interval};
  timerfd_settime(timer, 0, &schedule, NULL);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  /* The addresses of these two tell them from peers. */
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  event.data.ptr = &timer;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &event);

  send_tick(seq);
  static struct epoll_event events[1024];
  while (!is_stopping) {
    int count = epoll_wait(epoll_fd, events, 1024, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &listener) accept_peers(listener);
      else if (events[i].data.ptr == &timer) {
        if (read(timer, &beats, sizeof beats) == sizeof beats) send_tick(++seq);
      } else {
        Peer *p = events[i].data.ptr;
        int has_gone = (events[i].events & (EPOLLERR | EPOLLHUP)) || ((events[i].events & EPOLLIN) && !on_readable(p));
        if (has_gone) close_peer(p);
        else if (events[i].events & EPOLLOUT) on_writable(p);
      }
    }
  }
  return 0;
}
