/* The load generator of `observability bench`: one thread and one epoll loop, which opens clients to a server on this
 * machine and measures what they see. It needs Linux and a C compiler, and nothing else.
 *
 *   load stream   PORT PATH --clients N --seconds S [--warmup S] [--stalled K] [--deflate] [--pid P ...]
 *   load requests PORT PATH --clients N --seconds S [--warmup S] [--conditional] [--pid P ...]
 *   load storm    PORT PATH --clients N --seconds S [--warmup S] [--observers N] [--pid P ...]
 *
 * The result is one line of JSON on stdout. After it the connections stay open until stdin ends, so that the memory of
 * the server can be measured with its clients; at any other time the end of stdin ends the program.
 *
 * A window of measurement begins and ends in the quiet between two ticks, so that the messages counted and the CPU time
 * of the server belong together. CPU time is that of whole processes, in nanoseconds (clock_getcpuclockid).
 *
 * `requests` never sleeps: to wake it costs the sender of an answer more than the answer does, and it sleeps the more often
 * the slower the server is. Its own CPU time is then that without the time in which nothing had come.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MAX_CLIENTS = 100000,
  MAX_SECONDS = 600,
  MAX_PIDS = 64,
  /* Everything to be known of a message, or of the head of an answer, stands in its first bytes. */
  PROBE_BYTES = 1024,
  STAMP_BYTES = 256,
  RECEIVE_BYTES = 1 << 18,
  /* Connections in progress at a time: fewer than the backlog of any server. */
  OPENING = 64,
  /* An address has 28,000 ports for connections to one server. */
  CLIENTS_PER_ADDRESS = 20000,
  STALLED_RECEIVE_BUFFER = 4096,
};
#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
/* A tick is over once nothing has arrived for QUIET; a server that is never quiet is cut after GRACE. */
#define QUIET_NS (15 * NS_PER_MS)
#define GRACE_NS (250 * NS_PER_MS)
#define CONNECT_NS (60 * NS_PER_S)
#define STORM_NS (60 * NS_PER_S)
#define PARTING_SECONDS(clients) (0.3 + (clients) / 10000.0)

typedef enum { CLOSED, CONNECTING, UPGRADING, STREAMING, STALLED, ANSWERING } State;

typedef struct {
  int fd;
  State state;
  uint8_t is_observer;
  /* WebSocket: the header of the current frame, and how much of its payload is still to come. */
  uint8_t header[10], header_bytes;
  uint64_t left;
  /* HTTP: bytes of the body still to come; -1 while the head is. */
  int64_t body_left;
  char etag[64];
  /* The first bytes of the message or head. */
  uint8_t probe[PROBE_BYTES];
  uint32_t probe_bytes;
  uint64_t since_ns, last_seq;
  uint32_t messages;
} Client;

typedef struct { uint32_t *values; size_t count, room; } Samples; /* in units of 100 ns */
typedef struct { uint64_t *values; size_t count, room; } Times;

static enum { STREAM, REQUESTS, STORM } mode;
static const char *path;
static int port, clients = 100, observers = 0, stalled = 0, wants_deflate, is_conditional;
static double seconds = 5, warmup = 1;
static int pids[MAX_PIDS], pid_count;

static Client *all;
static int epoll_fd, opened, in_progress, connected, compressed, failed, closed, stalled_closed, with_message;
static int is_measuring, is_over;
static Samples latencies, handshakes;
static Times arrivals, ticks; /* of compressed messages; of the ticks that plain messages tell */
static uint64_t messages, bytes, missed, not_modified, other_answers;
static uint64_t newest_seq, newest_tick_ns, longest_gap_ns, last_message_ns, started_ns, idle_ns;
static uint8_t received[RECEIVE_BYTES];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
  exit(1);
}

static void *grown(void *values, size_t *room, size_t size) {
  *room = *room ? *room * 2 : 1 << 16;
  values = realloc(values, *room * size);
  if (!values) fail("no memory");
  return values;
}

static void add_sample(Samples *samples, uint64_t ns) {
  if (samples->count == samples->room) samples->values = grown(samples->values, &samples->room, sizeof *samples->values);
  uint64_t value = ns / 100;
  samples->values[samples->count++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void add_time(Times *times, uint64_t ns) {
  if (times->count == times->room) times->values = grown(times->values, &times->room, sizeof *times->values);
  times->values[times->count++] = ns;
}

/* -- CPU time */

static uint64_t cpu_ns(int pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0; /* the process has ended */
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

typedef struct { uint64_t at_ns, own_ns, pid_ns[MAX_PIDS]; } Cpu;

static Cpu cpu_now(void) {
  uint64_t own_ns = cpu_ns(getpid());
  Cpu cpu = {.at_ns = now_ns(), .own_ns = own_ns > idle_ns ? own_ns - idle_ns : 0};
  for (int i = 0; i < pid_count; i++) cpu.pid_ns[i] = cpu_ns(pids[i]);
  return cpu;
}

/* -- what a message says */

static int number_after(const uint8_t *data, size_t size, const char *key, uint64_t *value) {
  const uint8_t *at = memmem(data, size, key, strlen(key)), *end = data + size;
  if (!at) return 0;
  at += strlen(key);
  while (at < end && *at == ' ') at++;
  if (at == end || *at < '0' || *at > '9') return 0;
  for (*value = 0; at < end && *at >= '0' && *at <= '9'; at++) *value = *value * 10 + (uint64_t)(*at - '0');
  return 1;
}

static void on_tick(uint64_t seq, uint64_t tick_ns) {
  if (seq <= newest_seq) return;
  if (is_measuring) {
    if (newest_tick_ns && tick_ns - newest_tick_ns > longest_gap_ns) longest_gap_ns = tick_ns - newest_tick_ns;
    add_time(&ticks, tick_ns);
  }
  newest_seq = seq;
  newest_tick_ns = tick_ns;
}

/* One message: its first bytes, and its size on the wire. Messages that bear no tick (greetings, pongs) do not count. */
static void on_message(Client *c, const uint8_t *data, size_t size, uint64_t wire_bytes, int is_compressed) {
  uint64_t now = now_ns(), seq = 0, tick_ns = 0;
  int counts = is_measuring && (mode == STORM || !c->is_observer);
  if (is_compressed) {
    if (counts) add_time(&arrivals, now);
  } else {
    if (size > STAMP_BYTES) size = STAMP_BYTES;
    if (!number_after(data, size, "\"mono_ns\":", &tick_ns) || !number_after(data, size, "\"seq\":", &seq)) return;
    on_tick(seq, tick_ns);
    if (is_measuring && (mode == STORM) == c->is_observer) {
      if (now > tick_ns) add_sample(&latencies, now - tick_ns);
      if (c->last_seq && seq > c->last_seq + 1) missed += seq - c->last_seq - 1;
    }
    c->last_seq = seq;
  }
  last_message_ns = now;
  if (!c->messages++) with_message++;
  if (counts) {
    messages++;
    bytes += wire_bytes;
  }
}

/* -- connections */

static void set_events(Client *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(c - all)};
  epoll_ctl(epoll_fd, operation, c->fd, &event);
}

static void lose(Client *c) {
  if (c->state == CONNECTING || c->state == UPGRADING) failed++, in_progress--;
  if (c->state == STREAMING || c->state == ANSWERING) closed++;
  if (c->state == STALLED) stalled_closed++;
  close(c->fd);
  c->state = CLOSED;
}

static void send_all(Client *c, const void *data, size_t size) {
  /* What is sent is small, and the server has read everything before it: a short write means that it never will. */
  if (send(c->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) lose(c);
}

static void send_handshake(Client *c) {
  char head[1024];
  int size = snprintf(head, sizeof head,
                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      /* the key of the example in RFC 6455, whose answer is known */
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                      path, port,
                      wants_deflate && !c->is_observer
                          ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
  c->state = UPGRADING;
  send_all(c, head, (size_t)size);
}

static void send_request(Client *c) {
  static char head[1024];
  static int size;
  int has_tag = is_conditional && c->etag[0];
  if (is_conditional || !size)
    size = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", path, port,
                    has_tag ? "If-None-Match: " : "", has_tag ? c->etag : "", has_tag ? "\r\n" : "");
  c->body_left = -1;
  c->probe_bytes = 0;
  c->since_ns = now_ns();
  send_all(c, head, (size_t)size);
}

static void open_client(Client *c) {
  int one = 1, number = (int)(c - all), stalls = number >= observers && number < observers + stalled;
  struct linger reset = {1, 0}; /* closing leaves no port in TIME_WAIT */
  struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number / CLIENTS_PER_ADDRESS));
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (stalls) {
    int size = STALLED_RECEIVE_BUFFER;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) fail("bind");
  c->state = CONNECTING;
  c->is_observer = number < observers;
  c->since_ns = now_ns();
  in_progress++;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
    lose(c);
    return;
  }
  set_events(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Reads the answer to the handshake; returns how many bytes of `data` belong to it, or -1 for a refusal. */
static long on_upgrade(Client *c, const uint8_t *data, size_t size) {
  size_t before = c->probe_bytes, taken = size < PROBE_BYTES - before ? size : PROBE_BYTES - before;
  memcpy(c->probe + before, data, taken);
  c->probe_bytes += (uint32_t)taken;
  uint8_t *end = memmem(c->probe, c->probe_bytes, "\r\n\r\n", 4);
  if (!end) return c->probe_bytes == PROBE_BYTES ? -1 : (long)taken;
  size_t head_bytes = (size_t)(end + 4 - c->probe);
  if (memcmp(c->probe, "HTTP/1.1 101", 12) || !memmem(c->probe, head_bytes, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28)) return -1;
  if (memmem(c->probe, head_bytes, "permessage-deflate", 18)) compressed++;
  c->probe_bytes = 0;
  in_progress--;
  connected++;
  if (mode == STORM && !c->is_observer) add_sample(&handshakes, now_ns() - c->since_ns);
  int number = (int)(c - all);
  c->state = number >= observers && number < observers + stalled ? STALLED : STREAMING;
  if (c->state == STALLED) set_events(c, EPOLL_CTL_MOD, EPOLLRDHUP);
  return (long)(head_bytes - before);
}

/* How many bytes hold the length of a frame's payload, beside the seven bits in the second byte of its header. */
static int length_bytes(const Client *c) {
  int bits = c->header[1] & 127;
  return bits == 126 ? 2 : bits == 127 ? 8 : 0;
}

static uint64_t payload_length(const Client *c) {
  uint64_t length = 0;
  int extra = length_bytes(c);
  if (!extra) return c->header[1] & 127;
  for (int i = 0; i < extra; i++) length = length << 8 | c->header[2 + i];
  return length;
}

/* Handles a frame of which everything has come; `known` bytes of its payload are there. Returns 0 at the end. */
static int on_frame(Client *c, const uint8_t *payload, size_t known) {
  int opcode = c->header[0] & 15, is_last = c->header[0] & 128;
  if (opcode == 8) return 0;
  if (opcode == 9 && known < 126) {
    uint8_t pong[6 + 125] = {0x8a, (uint8_t)(0x80 | known)}; /* masked with zeros */
    memcpy(pong + 6, payload, known);
    send_all(c, pong, 6 + known);
  }
  if ((opcode == 1 || opcode == 2) && is_last)
    on_message(c, payload, known, c->header_bytes + payload_length(c), c->header[0] & 64);
  return 1;
}

/* Splits what came into frames. Of a frame that comes in parts only the first bytes are kept. */
static int on_frames(Client *c, const uint8_t *data, size_t size) {
  while (size && c->state == STREAMING) {
    if (!c->left) { /* between two frames, or within a header */
      while (size && (c->header_bytes < 2 || c->header_bytes < 2 + length_bytes(c))) c->header[c->header_bytes++] = *data++, size--;
      if (c->header_bytes < 2 || c->header_bytes < 2 + length_bytes(c)) return 1;
      if (c->header[1] & 128) return 0; /* servers do not mask */
      c->left = payload_length(c);
      c->probe_bytes = 0;
    }
    size_t part = size < c->left ? size : (size_t)c->left, known = part;
    const uint8_t *payload = data;
    if (part < c->left || c->probe_bytes) {
      size_t kept = part < PROBE_BYTES - c->probe_bytes ? part : PROBE_BYTES - c->probe_bytes;
      memcpy(c->probe + c->probe_bytes, data, kept);
      c->probe_bytes += (uint32_t)kept;
      payload = c->probe;
      known = c->probe_bytes;
    }
    data += part;
    size -= part;
    c->left -= part;
    if (c->left) return 1;
    if (!on_frame(c, payload, known)) return 0;
    c->header_bytes = 0;
    c->probe_bytes = 0;
  }
  return 1;
}

/* -- answers to requests */

/* Returns the value of a field in a head that ends with an empty line, or NULL. */
static const char *field(const char *head, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (!strncasecmp(line, name, length) && line[length] == ':') {
      line += length + 1;
      while (*line == ' ') line++;
      return line;
    }
  }
  return NULL;
}

static int on_head(Client *c, char *head) {
  int status = atoi(head + 9);
  const char *length = field(head, "Content-Length"), *tag = is_conditional ? field(head, "ETag") : NULL;
  if (status != 200 && status != 304) other_answers++;
  if (status == 304 && is_measuring) not_modified++;
  if (!length && status != 304) return 0; /* chunked, or up to the end of the connection: not measured */
  c->body_left = status == 304 ? 0 : atoll(length);
  size_t tag_bytes = tag ? strcspn(tag, "\r") : 0;
  if (tag_bytes && tag_bytes < sizeof c->etag) memcpy(c->etag, tag, tag_bytes), c->etag[tag_bytes] = 0;
  return 1;
}

static int on_answer(Client *c, const uint8_t *data, size_t size) {
  if (c->body_left < 0) {
    size_t before = c->probe_bytes, taken = size < PROBE_BYTES - 1 - before ? size : PROBE_BYTES - 1 - before;
    memcpy(c->probe + before, data, taken);
    c->probe_bytes += (uint32_t)taken;
    c->probe[c->probe_bytes] = 0;
    char *end = strstr((char *)c->probe, "\r\n\r\n");
    if (!end) return c->probe_bytes < PROBE_BYTES - 1;
    end[2] = 0;
    if (!on_head(c, (char *)c->probe)) return 0;
    size_t head_bytes = (size_t)(end + 4 - (char *)c->probe) - before;
    data += head_bytes;
    size -= head_bytes;
  }
  if ((int64_t)size > c->body_left) return 0; /* more than was asked for */
  c->body_left -= (int64_t)size;
  if (c->body_left) return 1;
  uint64_t now = now_ns();
  if (!c->messages++) with_message++;
  if (is_measuring) {
    messages++;
    add_sample(&latencies, now - c->since_ns);
  }
  if (!is_over) send_request(c);
  return 1;
}

/* -- the loop */

static void on_readable(Client *c) {
  ssize_t got = recv(c->fd, received, sizeof received, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    lose(c);
    return;
  }
  const uint8_t *data = received;
  size_t size = (size_t)got;
  if (c->state == UPGRADING) {
    long head_bytes = on_upgrade(c, data, size);
    if (head_bytes < 0) {
      lose(c);
      return;
    }
    data += head_bytes;
    size -= (size_t)head_bytes;
  }
  if (!size || c->state == CLOSED) return;
  if (c->state == STREAMING && !on_frames(c, data, size)) lose(c);
  else if (c->state == ANSWERING && !on_answer(c, data, size)) lose(c);
}

static void on_connected(Client *c) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    lose(c);
    return;
  }
  set_events(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
  if (mode != REQUESTS) {
    send_handshake(c);
    return;
  }
  c->state = ANSWERING;
  in_progress--;
  connected++;
  send_request(c);
}

static void run_once(int timeout_ms) {
  static struct epoll_event events[1024];
  int spins = mode == REQUESTS && !is_over;
  uint64_t begin = spins ? now_ns() : 0;
  int count = epoll_wait(epoll_fd, events, 1024, spins ? 0 : timeout_ms);
  if (spins && !count) idle_ns += now_ns() - begin;
  for (int i = 0; i < count; i++) {
    if (events[i].data.u32 == UINT32_MAX) { /* stdin has ended: nobody waits for the result any more */
      char byte;
      if (read(STDIN_FILENO, &byte, 1) <= 0) exit(0);
      continue;
    }
    Client *c = &all[events[i].data.u32];
    if (c->state == CLOSED) continue;
    if (c->state == CONNECTING) on_connected(c);
    else if (c->state == STALLED) lose(c); /* nothing but a hang-up is waited for */
    else on_readable(c);
  }
}

static void run_for(double duration) {
  uint64_t until = now_ns() + (uint64_t)(duration * 1e9);
  while (now_ns() < until) run_once(5);
}

/* Returns in the quiet after a tick. */
static void run_until_quiet(void) {
  uint64_t begin = now_ns(), now = begin, seen = last_message_ns;
  if (!connected) return;
  while (now - begin < GRACE_NS && (last_message_ns == seen || now - last_message_ns < QUIET_NS)) {
    run_once(1);
    now = now_ns();
  }
}

static void open_up_to(int count, int at_once) {
  uint64_t deadline = now_ns() + CONNECT_NS;
  while ((opened < count || in_progress) && now_ns() < deadline) {
    while (opened < count && in_progress < at_once) open_client(&all[opened++]);
    run_once(5);
  }
}

typedef struct {
  double seconds;
  uint64_t messages, bytes;
  Cpu before, after;
} Window;

static void begin_window(Window *w) {
  messages = bytes = missed = longest_gap_ns = not_modified = other_answers = 0;
  latencies.count = arrivals.count = ticks.count = 0;
  is_measuring = 1;
  w->before = cpu_now();
}

static void end_window(Window *w) {
  w->after = cpu_now();
  is_measuring = 0;
  w->seconds = (double)(w->after.at_ns - w->before.at_ns) / 1e9;
  w->messages = messages;
  w->bytes = bytes;
}

static Window measure(double duration) {
  Window w = {0};
  if (mode != REQUESTS) run_until_quiet();
  begin_window(&w);
  run_for(duration);
  if (mode != REQUESTS) run_until_quiet();
  end_window(&w);
  return w;
}

/* -- results */

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* A compressed message does not tell its tick: it is the last one before the message arrived. */
static void date_arrivals(void) {
  for (size_t i = 0; i < arrivals.count; i++) {
    size_t low = 0, high = ticks.count; /* the first tick after the arrival */
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (ticks.values[middle] <= arrivals.values[i]) low = middle + 1;
      else high = middle;
    }
    if (low) add_sample(&latencies, arrivals.values[i] - ticks.values[low - 1]);
  }
}

/* Nearest rank, in milliseconds. */
static double percentile(const Samples *samples, double share) {
  size_t rank = (size_t)(share * (double)samples->count + 0.999999);
  return samples->values[(rank ? rank : 1) - 1] / 1e4;
}

static void print_samples(const char *name, Samples *samples) {
  if (!samples->count) {
    printf(",\"%s\":null", name);
    return;
  }
  qsort(samples->values, samples->count, sizeof *samples->values, by_value);
  printf(",\"%s\":{\"n\":%zu,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,\"max\":%.4f}", name, samples->count,
         percentile(samples, 0.5), percentile(samples, 0.9), percentile(samples, 0.99), percentile(samples, 0.999),
         percentile(samples, 1));
}

static void print_window(const char *name, const Window *w) {
  printf(",\"%s\":{\"seconds\":%.6f,\"messages\":%lu,\"bytes\":%lu,\"own_cpu_seconds\":%.6f,\"cpu_seconds\":[", name, w->seconds,
         (unsigned long)w->messages, (unsigned long)w->bytes,
         w->after.own_ns > w->before.own_ns ? (double)(w->after.own_ns - w->before.own_ns) / 1e9 : 0.0);
  for (int i = 0; i < pid_count; i++) {
    uint64_t before = w->before.pid_ns[i], after = w->after.pid_ns[i];
    printf("%s%.9f", i ? "," : "", after > before ? (double)(after - before) / 1e9 : 0.0);
  }
  printf("]}");
}

static void print_start(void) {
  printf("{\"clients\":%d,\"connected\":%d,\"failed\":%d,\"closed\":%d,\"stalled_closed\":%d,\"compressed\":%d", clients,
         connected, failed, closed, stalled_closed, compressed);
}

static void run_stream(void) {
  open_up_to(clients + observers, OPENING);
  double connect_seconds = (double)(now_ns() - started_ns) / 1e9;
  run_for(warmup);
  closed = 0;
  Window w = measure(seconds);
  date_arrivals();
  print_start();
  printf(",\"connect_seconds\":%.3f,\"missed\":%lu,\"tick_gap_ms\":%.3f", connect_seconds, (unsigned long)missed,
         (double)longest_gap_ns / 1e6);
  print_window("window", &w);
  print_samples("latency_ms", &latencies);
}

static void run_requests(void) {
  open_up_to(clients, OPENING);
  run_for(warmup);
  Window w = measure(seconds);
  is_over = 1;
  print_start();
  printf(",\"not_modified\":%lu,\"other_answers\":%lu", (unsigned long)not_modified, (unsigned long)other_answers);
  print_window("window", &w);
  print_samples("latency_ms", &latencies);
}

/* Every client resets its connection, and the observers watch the ticks. */
static Window part(void) {
  Window w = {0};
  run_until_quiet();
  begin_window(&w);
  for (Client *c = all + observers; c < all + opened; c++) {
    if (c->state == CLOSED) continue;
    close(c->fd);
    c->state = CLOSED;
  }
  run_for(PARTING_SECONDS(clients));
  end_window(&w);
  return w;
}

/* All clients at once, while the observers watch the ticks; then a window in which all of them read; then all leave at
 * once. */
static void run_storm(void) {
  open_up_to(observers, OPENING);
  run_for(warmup);
  Window storm = {0};
  run_until_quiet();
  begin_window(&storm);
  uint64_t begin = now_ns(), all_connected_ns = 0;
  while (now_ns() - begin < STORM_NS && with_message + failed + closed < clients + observers) {
    for (int i = 0; i < 256 && opened < clients + observers; i++) open_client(&all[opened++]);
    run_once(opened < clients + observers ? 0 : 5);
    if (!all_connected_ns && opened == clients + observers && !in_progress) all_connected_ns = now_ns();
  }
  double total = (double)(now_ns() - begin) / 1e9;
  run_until_quiet();
  end_window(&storm);
  double gap_ms = (double)longest_gap_ns / 1e6;
  uint64_t storm_missed = missed;
  Samples seen = latencies;
  latencies = (Samples){0};
  Window steady = measure(seconds), parting = part();
  print_start();
  printf(",\"connect_seconds\":%.3f,\"snapshot_seconds\":%.3f,\"missed\":%lu,\"tick_gap_ms\":%.3f",
         all_connected_ns ? (double)(all_connected_ns - begin) / 1e9 : total, total, (unsigned long)storm_missed, gap_ms);
  print_window("window", &storm);
  print_window("steady", &steady);
  print_window("parting", &parting);
  printf(",\"parting_gap_ms\":%.3f", (double)longest_gap_ns / 1e6);
  print_samples("latency_ms", &seen);
  print_samples("handshake_ms", &handshakes);
}

static void usage(void) {
  fprintf(stderr, "usage: load stream|requests|storm PORT PATH --clients N --seconds S [--warmup S] [--observers N]\n"
                  "            [--stalled K] [--deflate] [--conditional] [--pid P ...]\n");
  exit(2);
}

static void read_arguments(int argc, char **argv) {
  if (argc < 4) usage();
  if (!strcmp(argv[1], "stream")) mode = STREAM;
  else if (!strcmp(argv[1], "requests")) mode = REQUESTS;
  else if (!strcmp(argv[1], "storm")) mode = STORM;
  else usage();
  port = atoi(argv[2]);
  path = argv[3];
  for (int i = 4; i < argc; i++) {
    const char *name = argv[i];
    if (!strcmp(name, "--deflate")) { wants_deflate = 1; continue; }
    if (!strcmp(name, "--conditional")) { is_conditional = 1; continue; }
    if (++i == argc) usage();
    if (!strcmp(name, "--clients")) clients = atoi(argv[i]);
    else if (!strcmp(name, "--observers")) observers = atoi(argv[i]);
    else if (!strcmp(name, "--stalled")) stalled = atoi(argv[i]);
    else if (!strcmp(name, "--seconds")) seconds = atof(argv[i]);
    else if (!strcmp(name, "--warmup")) warmup = atof(argv[i]);
    else if (!strcmp(name, "--pid") && pid_count < MAX_PIDS) pids[pid_count++] = atoi(argv[i]);
    else usage();
  }
  if (wants_deflate && !observers) observers = 1; /* compressed messages do not tell their tick */
  int is_sane = port > 0 && port < 65536 && strlen(path) < 512 && clients > 0 && observers >= 0 && stalled >= 0 &&
                stalled <= clients && clients + observers <= MAX_CLIENTS && seconds > 0 && seconds <= MAX_SECONDS &&
                warmup >= 0 && warmup <= MAX_SECONDS;
  if (!is_sane) usage();
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  rlim_t wanted = (rlim_t)(clients + observers + 64);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (limit.rlim_cur < wanted) {
    fprintf(stderr, "load: %lu file descriptors are needed, and the limit is %lu (ulimit -n)\n", (unsigned long)wanted,
            (unsigned long)limit.rlim_cur);
    return 1;
  }
  all = calloc((size_t)(clients + observers), sizeof *all);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (!all || epoll_fd < 0) fail("start");
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event);
  started_ns = now_ns();
  if (mode == STREAM) run_stream();
  else if (mode == REQUESTS) run_requests();
  else run_storm();
  printf("}\n");
  fflush(stdout);
  for (;;) run_once(100); /* until stdin ends */
}
