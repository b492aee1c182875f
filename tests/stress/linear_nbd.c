/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many clients at one volume (P2, P3, I7).
 *
 *   linear_nbd [OPERATIONS [KILLS]]
 *
 *  1. Several connections, each with many requests in flight, write, zero,
 *     trim and read sectors of their own choice; meanwhile the volume is
 *     snapshotted over and over.  What the reads gave and what is in the
 *     snapshots has to be what a register per sector could have given; each
 *     snapshot is of one instant, with whole requests.
 *  2. Neighbours: each connection writes bytes of its own between the
 *     others', in the same sectors and blocks.  Nobody's are lost.
 *  3. They write, another connection flushes, the server is killed: a third
 *     finds all that was answered before a flush, or what came later.
 *
 *   THINBD_SEED        where the random numbers begin
 *   THINBD_LINEAR_OPS  operations of 1. instead of those of the command line
 *
 * When threads meet is not up to the seed: a replay may need several goes.
 */
#include "../unit/seeded.h"
#include "history.h"
#include "served.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CLIENTS 8
#define MAX_DEPTH   32
#define MAX_SECTORS 64		 /* of a request */
#define SECTORS	    (4096u - 37) /* of a volume: its last block is short */
#define BLOCK	    (16384u / SECTOR)
#define SIZE	    ((uint64_t)SECTORS * SECTOR)

struct client;

enum op {
	OP_READ,
	OP_WRITE,
	OP_ZERO,
	OP_TRIM,
};

/* A request in flight, and the buffer that it has while it is. */
struct slot {
	struct client *client;
	enum op op;
	uint32_t sector, nr;
	uint64_t value, start;
	_Atomic int64_t end; /* 0: in flight; -1: failed; else when */
	bool used;
	uint8_t *buf;
};

struct client {
	unsigned id;
	struct seeded rnd;
	struct nbd_handle *h;
	pthread_t thread;
	unsigned depth;
	uint64_t quota; /* operations that it still may begin */
	bool may_lose;	/* the server may die */
	struct slot slot[MAX_DEPTH];
	struct history history;
	struct history torn;	  /* what it read that was a mixture */
	struct request *requests; /* its writes, by their number */
	size_t nr_requests, room;
};

static struct {
	struct seeded rnd;
	struct client client[MAX_CLIENTS];
	unsigned clients;
	atomic_uint running;
	char volume[32];
} lin;

/* --- values ---------------------------------------------------------------- */

/* Which client, and which of its writes. */
static uint64_t new_value(struct client *c, uint32_t sector, uint32_t nr)
{
	if (c->nr_requests == c->room) {
		c->room = c->room ? 2 * c->room : 1024;
		c->requests = realloc(c->requests, c->room * sizeof(*c->requests));
		SHOULD(c->requests, "no memory");
	}
	c->requests[c->nr_requests++] =
		(struct request){.sector = sector, .nr = nr, .end = UNKNOWN};
	return (uint64_t)(c->id + 1) << 40 | c->nr_requests;
}

static struct request *request_of(uint64_t value)
{
	uint64_t id = (value >> 40) - 1, i = (value & 0xffffffffff) - 1;

	SHOULD(id < lin.clients && i < lin.client[id].nr_requests,
	       "nobody wrote %#" PRIx64, value);
	return &lin.client[id].requests[i];
}

static const struct request *find_request(uint64_t value)
{
	return request_of(value);
}

/* --- one request ------------------------------------------------------------ */

static int on_done(void *slot, int *error)
{
	struct slot *s = slot;

	atomic_store(&s->end, *error ? -1 : (int64_t)served_now());
	return 1; /* it is retired */
}

static void choose(struct slot *s)
{
	struct seeded *rnd = &s->client->rnd;
	uint64_t dice = seeded_below(rnd, 100);

	s->op = dice < 45   ? OP_READ
		: dice < 90 ? OP_WRITE
		: dice < 96 ? OP_ZERO
			    : OP_TRIM;
	s->nr = 1 + (uint32_t)seeded_below(rnd, seeded_below(rnd, 4) ? 8 : MAX_SECTORS);
	s->sector = (uint32_t)seeded_below(rnd, SECTORS);
	/* What a trim covers in part it may leave. */
	if (s->op == OP_TRIM) {
		s->sector -= s->sector % BLOCK;
		s->nr = BLOCK * (1 + (uint32_t)seeded_below(rnd, 2));
	}
	if (s->nr > SECTORS - s->sector)
		s->nr = SECTORS - s->sector;
}

static int issue(struct slot *s)
{
	struct client *c = s->client;
	nbd_completion_callback done = {.callback = on_done, .user_data = s};
	uint64_t offset = (uint64_t)s->sector * SECTOR, len = (uint64_t)s->nr * SECTOR;
	uint32_t flags = 0;

	if (seeded_below(&c->rnd, 400) == 0)
		flags = LIBNBD_CMD_FLAG_FUA;
	switch (s->op) {
	case OP_READ:
		return (int)nbd_aio_pread(c->h, s->buf, len, offset, done, 0);
	case OP_WRITE:
		return (int)nbd_aio_pwrite(c->h, s->buf, len, offset, done, flags);
	case OP_ZERO:
		flags |= seeded_below(&c->rnd, 2) ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
		return (int)nbd_aio_zero(c->h, len, offset, done, flags);
	default:
		return (int)nbd_aio_trim(c->h, len, offset, done, flags);
	}
}

static void begin(struct slot *s)
{
	choose(s);
	s->value = 0;
	if (s->op == OP_WRITE) {
		s->value = new_value(s->client, s->sector, s->nr);
		for (uint32_t i = 0; i < s->nr; i++)
			sector_stamp(s->buf + i * SECTOR, s->value, s->sector + i);
	}
	atomic_store(&s->end, 0);
	s->used = true;
	s->start = served_now();
	if (s->op == OP_WRITE)
		request_of(s->value)->start = s->start;
	if (issue(s) == -1) {
		SHOULD(s->client->may_lose, "%s", nbd_get_error());
		atomic_store(&s->end, -1);
	}
}

static void note_read(struct slot *s, uint64_t end)
{
	for (uint32_t i = 0; i < s->nr; i++) {
		struct event e = {
			.start = s->start,
			.end = end,
			.sector = s->sector + i,
			.kind = EV_READ,
		};
		bool whole = sector_value(s->buf + i * SECTOR, e.sector, &e.value);

		history_add(whole ? &s->client->history : &s->client->torn, e);
	}
}

static void note_change(struct slot *s, uint64_t end)
{
	if (s->op == OP_WRITE)
		request_of(s->value)->end = end;
	for (uint32_t i = 0; i < s->nr; i++)
		history_add(&s->client->history, (struct event){
							 .value = s->value,
							 .start = s->start,
							 .end = end,
							 .sector = s->sector + i,
							 .kind = EV_WRITE,
						 });
}

/* What was not answered may have happened, or may not. */
static void finish(struct slot *s, bool answered)
{
	uint64_t end = answered ? (uint64_t)atomic_load(&s->end) : UNKNOWN;

	s->used = false;
	SHOULD(answered || s->client->may_lose, "a request failed");
	if (s->op != OP_READ)
		note_change(s, end);
	else if (answered)
		note_read(s, end);
}

/* --- a client ------------------------------------------------------------------ */

/* Begins what may be begun, ends what is done.  How many are in flight. */
static unsigned turn(struct client *c, bool *lost)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < c->depth; i++) {
		struct slot *s = &c->slot[i];
		int64_t end = atomic_load(&s->end);

		if (s->used && end) {
			finish(s, end > 0);
			*lost |= end < 0;
		}
		if (!s->used && c->quota && !*lost) {
			c->quota--;
			begin(s);
		}
		busy += s->used;
	}
	return busy;
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	bool lost = false;

	while (turn(c, &lost) && !lost) {
		if (nbd_poll(c->h, 1000) == -1) {
			SHOULD(c->may_lose, "%s", nbd_get_error());
			lost = true;
		}
	}
	for (unsigned i = 0; lost && i < c->depth; i++)
		if (c->slot[i].used)
			finish(&c->slot[i], atomic_load(&c->slot[i].end) > 0);
	atomic_fetch_sub(&lin.running, 1);
	return NULL;
}

static void *make_buffer(void)
{
	void *p = malloc(MAX_SECTORS * SECTOR);

	SHOULD(p, "no memory");
	return p;
}

static void start_client(struct client *c, unsigned id, uint64_t quota, bool may_lose)
{
	*c = (struct client){.id = id, .quota = quota, .may_lose = may_lose};
	c->rnd.state = seeded_next(&lin.rnd);
	c->depth = 16 + (unsigned)seeded_below(&c->rnd, MAX_DEPTH - 15);
	c->h = served_connect(lin.volume);
	for (unsigned i = 0; i < c->depth; i++) {
		c->slot[i].client = c;
		c->slot[i].buf = make_buffer();
	}
	atomic_fetch_add(&lin.running, 1);
}

static void start_clients(unsigned nr, uint64_t operations, bool may_lose)
{
	lin.clients = nr;
	for (unsigned i = 0; i < nr; i++)
		start_client(&lin.client[i], i, operations / nr, may_lose);
	for (unsigned i = 0; i < nr; i++) {
		struct client *c = &lin.client[i];
		SHOULD(!pthread_create(&c->thread, NULL, run_client, c), "no thread");
	}
}

/* Waits for them; @h gets all they did, sorted. */
static void join_clients(struct history *h)
{
	struct history torn = {0};
	const char *wrong;

	for (unsigned i = 0; i < lin.clients; i++) {
		struct client *c = &lin.client[i];

		SHOULD(!pthread_join(c->thread, NULL), "join");
		served_hang_up(c->h);
		for (unsigned j = 0; j < c->depth; j++)
			free(c->slot[j].buf);
		history_append(h, &c->history);
		history_append(&torn, &c->torn);
		history_fini(&c->history);
		history_fini(&c->torn);
	}
	history_sort(h);
	wrong = history_check_torn(h, &torn);
	SHOULD(!wrong, "%s", wrong);
	history_fini(&torn);
}

static void forget_requests(void)
{
	for (unsigned i = 0; i < lin.clients; i++)
		free(lin.client[i].requests);
	lin.clients = 0;
}

static void read_values(const char *name, uint64_t *values)
{
	struct nbd_handle *h = served_connect(name);
	uint8_t *bytes = malloc(SIZE);

	SHOULD(bytes, "no memory");
	NBD(nbd_pread(h, bytes, SIZE, 0, 0));
	served_hang_up(h);
	for (uint32_t i = 0; i < SECTORS; i++)
		SHOULD(sector_value(bytes + i * SECTOR, i, &values[i]),
		       "%s: sector %u is no single write's", name, i);
	free(bytes);
}

static void new_volume(unsigned i)
{
	char size[32];

	snprintf(lin.volume, sizeof(lin.volume), "v%u", i);
	snprintf(size, sizeof(size), "%" PRIu64, SIZE);
	CLI("create", lin.volume, "--size", size);
}

/* --- 1. linearizable --------------------------------------------------------------- */

struct snap {
	uint64_t start, end;
	uint64_t *values;
};

static void take_snapshot(struct snap *s)
{
	s->values = calloc(SECTORS, sizeof(*s->values));
	SHOULD(s->values, "no memory");
	s->start = served_now();
	CLI("snapshot", lin.volume, "s@1");
	s->end = served_now();
	read_values("s@1", s->values);
	CLI("delete", "s@1");
}

/* A snapshot is a read of all, as far as sectors go. */
static void note_snapshot(struct history *h, const struct snap *s)
{
	for (uint32_t i = 0; i < SECTORS; i++)
		history_add(h, (struct event){
				       .value = s->values[i],
				       .start = s->start,
				       .end = s->end,
				       .sector = i,
				       .kind = EV_READ,
			       });
}

#define MAX_SNAPS 400u

static void linearizable(uint64_t operations)
{
	unsigned clients = 4 + (unsigned)seeded_below(&lin.rnd, 5), snaps = 0;
	struct snap *snap = calloc(MAX_SNAPS, sizeof(*snap));
	struct history h = {0};
	const char *wrong = NULL;

	SHOULD(snap, "no memory");
	new_volume(0);
	start_clients(clients, operations, false);
	while (atomic_load(&lin.running)) {
		if (snaps < MAX_SNAPS)
			take_snapshot(&snap[snaps++]);
		usleep((unsigned)seeded_below(&lin.rnd, 50000));
	}
	join_clients(&h);
	for (unsigned i = 0; i < snaps && !wrong; i++)
		wrong = history_check_instant(&h, snap[i].values, SECTORS, snap[i].start,
					      snap[i].end, find_request);
	SHOULD(!wrong, "snapshot: %s", wrong);
	for (unsigned i = 0; i < snaps; i++) {
		note_snapshot(&h, &snap[i]);
		free(snap[i].values);
	}
	history_sort(&h);
	wrong = history_check(&h);
	SHOULD(!wrong, "not linearizable: %s", wrong);
	printf("linearizable: %u connections, %zu sectors' events, %u snapshots\n",
	       clients, h.nr, snaps);
	history_fini(&h);
	forget_requests();
	free(snap);
	CLI("delete", lin.volume);
}

/* To check a history takes a time that grows with its square: so it is cut. */
#define ROUND UINT64_C(100000)

static void linearizable_rounds(uint64_t operations)
{
	while (operations) {
		uint64_t some = operations < ROUND ? operations : ROUND;

		linearizable(some);
		operations -= some;
	}
}

/* --- 2. neighbours -------------------------------------------------------------------
 */

#define GRANULE	  201u /* bytes, of one client, next to others' */
#define NEIGHBOUR (SIZE / GRANULE)

static atomic_uint neighbour_quota;

static void *neighbour(void *arg)
{
	struct client *c = arg;
	uint8_t *mine = calloc(NEIGHBOUR, 1), buf[GRANULE];

	SHOULD(mine, "no memory");
	while (atomic_fetch_sub(&neighbour_quota, 1) < UINT32_MAX / 2) {
		uint64_t i =
			seeded_below(&c->rnd, NEIGHBOUR / lin.clients) * lin.clients +
			c->id;
		uint64_t dice = seeded_below(&c->rnd, 100);

		if (dice < 50) {
			mine[i] = (uint8_t)(1 + seeded_below(&c->rnd, 255));
			memset(buf, mine[i], GRANULE);
			NBD(nbd_pwrite(c->h, buf, GRANULE, i * GRANULE, 0));
		} else if (dice < 55) {
			mine[i] = 0;
			NBD(nbd_zero(c->h, GRANULE, i * GRANULE,
				     dice % 2 ? LIBNBD_CMD_FLAG_NO_HOLE : 0));
		} else {
			NBD(nbd_pread(c->h, buf, GRANULE, i * GRANULE, 0));
			SHOULD(buf[0] == mine[i] && !memcmp(buf, buf + 1, GRANULE - 1),
			       "granule %" PRIu64 " at %" PRIu64 " of client %u was lost",
			       i, i * GRANULE, c->id);
		}
	}
	free(mine);
	atomic_fetch_sub(&lin.running, 1);
	return NULL;
}

static void neighbours(unsigned operations)
{
	lin.clients = MAX_CLIENTS;
	new_volume(1);
	atomic_store(&neighbour_quota, operations);
	atomic_store(&lin.running, lin.clients);
	for (unsigned i = 0; i < lin.clients; i++) {
		struct client *c = &lin.client[i];

		*c = (struct client){.id = i, .rnd.state = seeded_next(&lin.rnd)};
		c->h = served_connect(lin.volume);
		SHOULD(!pthread_create(&c->thread, NULL, neighbour, c), "no thread");
	}
	/* Blocks that are shared again and again are copied again and again. */
	while (atomic_load(&lin.running)) {
		CLI("snapshot", lin.volume, "s@1");
		usleep(5000);
		CLI("delete", "s@1");
	}
	for (unsigned i = 0; i < lin.clients; i++) {
		SHOULD(!pthread_join(lin.client[i].thread, NULL), "join");
		served_hang_up(lin.client[i].h);
	}
	CLI("delete", lin.volume);
	printf("neighbours: %u operations\n", operations);
}

/* --- 3. flushed elsewhere
 * --------------------------------------------------------------- */

/* Flushes now and then, until it is time; what the last one covered. */
static uint64_t flush_until(uint64_t deadline)
{
	struct nbd_handle *h = served_connect(lin.volume);
	uint64_t covered = 0;

	while (served_now() < deadline) {
		uint64_t start = served_now();

		NBD(nbd_flush(h, 0));
		covered = start;
		usleep((unsigned)seeded_below(&lin.rnd, 20000));
	}
	nbd_close(h);
	return covered;
}

static void flushed_elsewhere(unsigned i)
{
	uint64_t *values = calloc(SECTORS, sizeof(*values)), covered;
	struct history h = {0};
	const char *wrong;

	SHOULD(values, "no memory");
	new_volume(2 + i);
	start_clients(4, UINT64_MAX, true);
	covered =
		flush_until(served_now() + (50 + seeded_below(&lin.rnd, 300)) * 1000000);
	served_kill();
	join_clients(&h);
	served_start();
	read_values(lin.volume, values);
	wrong = history_check_crash(&h, values, SECTORS, covered);
	SHOULD(!wrong, "after the kill: %s", wrong);
	history_fini(&h);
	forget_requests();
	free(values);
	CLI("delete", lin.volume);
}

/* The rule itself, one by one: written here, flushed there, read elsewhere. */
static void multi_conn(void)
{
	uint8_t data[3000], back[3000];
	struct nbd_handle *h[2];

	new_volume(1);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t at = i * 99991;

		h[0] = served_connect(lin.volume);
		h[1] = served_connect(lin.volume);
		memset(data, (int)i + 1, sizeof(data));
		NBD(nbd_pwrite(h[0], data, sizeof(data), at, 0));
		NBD(nbd_flush(h[1], 0));
		served_kill();
		nbd_close(h[0]);
		nbd_close(h[1]);
		served_start();
		h[0] = served_connect(lin.volume);
		NBD(nbd_pread(h[0], back, sizeof(back), at, 0));
		served_hang_up(h[0]);
		SHOULD(!memcmp(data, back, sizeof(data)), "write %u is lost", i);
	}
	CLI("delete", lin.volume);
	printf("multi-conn: 20 kills\n");
}

int main(int argc, char **argv)
{
	const char *more = getenv("THINBD_LINEAR_OPS"), *wrong;
	uint64_t operations = more	 ? strtoull(more, NULL, 0)
			      : argc > 1 ? strtoull(argv[1], NULL, 0)
					 : 100000;
	unsigned kills = argc > 2 ? (unsigned)atoi(argv[2]) : 10;

	lin.rnd = seeded_start("linear_nbd");
	snprintf(served_replay, sizeof(served_replay),
		 "THINBD_SEED=%" PRIu64 " %s %" PRIu64 " %u", lin.rnd.state, argv[0],
		 operations, kills);
	printf("%s\n", served_replay);
	wrong = history_check_checks();
	SHOULD(!wrong, "the test's own checks: %s", wrong);
	served_init();
	CLI("init", "--data-size", "64M", "--block-size", "16K");
	served_start();
	linearizable_rounds(operations);
	neighbours((unsigned)(operations / 5));
	multi_conn();
	for (unsigned i = 0; i < kills; i++)
		flushed_elsewhere(i);
	printf("flushed elsewhere: %u kills\n", kills);
	served_audit();
	served_fini();
	return 0;
}
