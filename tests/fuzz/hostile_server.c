/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile_server.h"

#include "fuzz.h"
#include "hostile_wire.h"
#include "util/checked.h"
#include "util/endian.h"

#include <errno.h>
#include <string.h>

/*
 * Whoever speaks is known by how he begins: an option and a request by their
 * magics, all else are the four bytes of flags after the greeting.  So what
 * the client is doing need not be guessed from what he was told.
 */

#define MAX_ASKED  256u
#define MAX_ANSWER (1u << 20) /* an honest read of more is refused */

#define OPTION_MAGIC  UINT64_C(0x49484156454f5054)
#define REQUEST_MAGIC 0x25609513u

enum {
	REQ_READ,
	REQ_WRITE,
	REQ_DISC,
	REQ_FLUSH,
	REQ_TRIM,
	REQ_CACHE,
	REQ_ZERO,
	REQ_STATUS
};
enum {
	OPT_EXPORT_NAME = 1,
	OPT_GO = 7,
	OPT_STRUCTURED = 8,
	OPT_SET_META = 10
};

#define FLAG_READONLY 0x0002u
#define FLAG_FLUSH    0x0004u

/* A request or, with @option, an option that is not answered yet. */
struct asked {
	bool option;
	uint32_t what;
	uint32_t len;
	uint64_t cookie, offset;
};

struct hostile hostile;

static const uint8_t *script;
static size_t nr_script;
static bool honest_after;

static struct asked asked[MAX_ASKED];
static size_t nr_asked;

/* Of the connection. */
static uint64_t export_size;
static uint16_t export_flags;
static uint8_t export_blocks, export_name;
static bool structured, no_zeroes;

/* What is being heard: a message's head, then the data of a write. */
static uint8_t head[32];
static size_t nr_head;
static uint64_t data_left, data_at;
static uint8_t written[HOSTILE_DISK];

static uint8_t next(void)
{
	uint8_t b;

	if (!nr_script)
		return 0;
	b = *script++;
	nr_script--;
	return b == HOSTILE_NEVER ? HOSTILE_NEVER + 1 : b;
}

static uint32_t next16(void)
{
	uint32_t low = next();

	return low | (uint32_t)next() << 8;
}

/* --- numbers on their way out ----------------------------------------------------- */

struct message {
	uint8_t bytes[512];
	size_t len;
};

static void put(struct message *m, uint64_t value, unsigned bytes)
{
	while (bytes--)
		m->bytes[m->len++] = (uint8_t)(value >> (8 * bytes));
}

static uint64_t number(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void say(const struct message *m)
{
	wire_say(m->bytes, m->len);
}

/* --- the disk --------------------------------------------------------------------- */

static void set(uint64_t offset, uint64_t len, const uint8_t *bytes, int16_t otherwise)
{
	uint64_t end = thin_min(offset + len, HOSTILE_DISK);

	for (uint64_t i = offset; i < end; i++)
		hostile.content[i] = bytes ? bytes[i] : otherwise;
}

static void flushed(void)
{
	memcpy(hostile.durable, hostile.content, sizeof(hostile.durable));
	hostile.unflushed = false;
}

static void changed(void)
{
	hostile.unflushed = true;
	if (!hostile.can_flush)
		flushed();
}

/* --- hearing ---------------------------------------------------------------------- */

static void take(const struct asked *a)
{
	if (nr_asked < MAX_ASKED)
		asked[nr_asked++] = *a;
}

static void take_request(const struct asked *a)
{
	switch (a->what) {
	case REQ_WRITE:
		set(a->offset, a->len, written, 0);
		changed();
		break;
	case REQ_ZERO:
		set(a->offset, a->len, NULL, 0);
		changed();
		break;
	case REQ_TRIM:
		set(a->offset, a->len, NULL, HOSTILE_UNKNOWN);
		changed();
		break;
	case REQ_FLUSH:
		hostile.flushes++;
		flushed();
		break;
	case REQ_READ:
		hostile.reads++;
		break;
	default:
		break;
	}
	take(a);
}

/* How long the head is that begins so; 4 for the client's flags. */
static size_t head_length(void)
{
	if (nr_head >= 4 && number(head, 4) == REQUEST_MAGIC)
		return 28;
	if (nr_head >= 4 && number(head, 4) == OPTION_MAGIC >> 32)
		return 16;
	return 4;
}

static void hear_data(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (data_at + i < HOSTILE_DISK)
			written[data_at + i] = p[i];
	data_at += n;
	data_left -= n;
}

static struct asked understand(void)
{
	if (nr_head == 28)
		return (struct asked){
			.what = (uint32_t)number(head + 6, 2),
			.cookie = number(head + 8, 8),
			.offset = number(head + 16, 8),
			.len = (uint32_t)number(head + 24, 4),
		};
	return (struct asked){
		.option = true,
		.what = (uint32_t)number(head + 8, 4),
		.len = (uint32_t)number(head + 12, 4),
	};
}

/* All that is there; nothing comes from here that the client did not send in full. */
static bool hear(void)
{
	struct asked a = understand();
	uint8_t buf[65536];
	size_t n;

	if (data_left) {
		n = wire_hear(buf, thin_min(sizeof(buf), data_left));
		hear_data(buf, n);
	} else {
		n = wire_hear(head + nr_head, head_length() - nr_head);
		nr_head += n;
		if (!n || nr_head < head_length())
			return n;
		a = understand();
		data_at = a.option ? HOSTILE_DISK : a.offset;
		data_left = nr_head > 4 && (a.option || a.what == REQ_WRITE) ? a.len : 0;
	}
	if (!data_left) {
		if (nr_head == 28)
			take_request(&a);
		else if (nr_head == 16)
			take(&a);
		else
			no_zeroes = head[3] & 2;
		nr_head = 0;
	}
	return n;
}

/* --- honest answers --------------------------------------------------------------- */

static void say_option_head(uint32_t option, uint32_t type, size_t len)
{
	struct message m = {.len = 0};

	put(&m, UINT64_C(0x3e889045565a9), 8);
	put(&m, option, 4);
	put(&m, type, 4);
	put(&m, len, 4);
	say(&m);
}

static void say_option(uint32_t option, uint32_t type, const void *data, size_t len)
{
	say_option_head(option, type, len);
	wire_say(data, len);
}

static void say_export(uint32_t option)
{
	static const uint32_t min[8] = {0, 1, 512, 4096, 65536, 3, 1u << 25, 0xffffffff};
	static const uint32_t max[8] = {0, 65536, 65536, 1u << 25, 65536, 3, 1u << 26, 1};
	struct message m = {.len = 0};

	put(&m, 0, 2);
	put(&m, export_size, 8);
	put(&m, export_flags, 2);
	say_option(option, 3, m.bytes, m.len);
	if (export_blocks) {
		m.len = 0;
		put(&m, 3, 2);
		put(&m, min[export_blocks], 4);
		put(&m, min[export_blocks], 4);
		put(&m, max[export_blocks], 4);
		say_option(option, 3, m.bytes, m.len);
	}
	if (export_name) {
		m.len = 0;
		put(&m, 1, 2);
		put(&m, 'a' + export_name, 1);
		say_option(option, 3, m.bytes, m.len);
	}
	say_option(option, 1, NULL, 0);
}

static void answer_option(const struct asked *a)
{
	static const char context[] = "\0\0\0\1base:allocation";
	struct message m = {.len = 0};

	switch (a->what) {
	case OPT_EXPORT_NAME:
		put(&m, export_size, 8);
		put(&m, export_flags, 2);
		m.len += no_zeroes ? 0 : 124;
		say(&m);
		break;
	case OPT_GO:
		say_export(a->what);
		break;
	case OPT_STRUCTURED:
		structured = true;
		say_option(a->what, 1, NULL, 0);
		break;
	case OPT_SET_META:
		say_option(a->what, 4, context, sizeof(context) - 1);
		say_option(a->what, 1, NULL, 0);
		break;
	default:
		say_option(a->what, 0x80000001, NULL, 0);
		break;
	}
}

static void say_simple(uint64_t cookie, uint32_t error)
{
	struct message m = {.len = 0};

	put(&m, 0x67446698, 4);
	put(&m, error, 4);
	put(&m, cookie, 8);
	say(&m);
}

static void say_chunk(uint64_t cookie, uint16_t flags, uint16_t type, uint32_t len)
{
	struct message m = {.len = 0};

	put(&m, 0x668e33ef, 4);
	put(&m, flags, 2);
	put(&m, type, 2);
	put(&m, cookie, 8);
	put(&m, len, 4);
	say(&m);
}

static void say_content(uint64_t offset, uint32_t len)
{
	static uint8_t buf[MAX_ANSWER];

	memset(buf, 0x55, len);
	for (uint32_t i = 0; i < len && offset + i < HOSTILE_DISK; i++)
		if (hostile.content[offset + i] >= 0)
			buf[i] = (uint8_t)hostile.content[offset + i];
	wire_say(buf, len);
}

static void say_error(uint64_t cookie, uint32_t error)
{
	struct message m = {.len = 0};

	if (!structured) {
		say_simple(cookie, error);
		return;
	}
	say_chunk(cookie, 1, 0x8001, 6);
	put(&m, error, 4);
	put(&m, 0, 2);
	say(&m);
}

static void answer_read(const struct asked *a)
{
	struct message m = {.len = 0};

	if (a->len > MAX_ANSWER) {
		say_error(a->cookie, ENOMEM);
		return;
	}
	if (structured) {
		say_chunk(a->cookie, 1, 1, a->len + 8);
		put(&m, a->offset, 8);
		say(&m);
	} else {
		say_simple(a->cookie, 0);
	}
	say_content(a->offset, a->len);
}

static void answer_status(const struct asked *a)
{
	struct message m = {.len = 0};

	say_chunk(a->cookie, 1, 5, 12);
	put(&m, 1, 4);
	put(&m, a->len, 4);
	put(&m, 0, 4);
	say(&m);
}

static void answer(const struct asked *a)
{
	if (a->option)
		answer_option(a);
	else if (a->what == REQ_READ)
		answer_read(a);
	else if (a->what == REQ_STATUS && structured)
		answer_status(a);
	else if (a->what != REQ_DISC)
		say_simple(a->cookie, 0);
}

static void forget(size_t i)
{
	nr_asked--;
	memmove(&asked[i], &asked[i + 1], (nr_asked - i) * sizeof(asked[0]));
}

/* --- the acts --------------------------------------------------------------------- */

static void say_script(size_t len)
{
	while (len-- && nr_script) {
		uint8_t b = next();

		wire_say(&b, 1);
	}
}

static void act_cut(const struct asked *a)
{
	wire_limit(next16());
	answer(a);
	wire_hang_up();
}

static void act_chunk(const struct asked *a)
{
	uint16_t flags = next(), type = next();
	uint64_t at = a->offset + next16();
	uint32_t len = next16(), sent = next16();
	struct message m = {.len = 0};

	type = (uint16_t)((type & 0x80 ? 0x8000 : 0) | (type & 0x7f));
	put(&m, at, 8);
	if (type == 2) { /* a hole: its length, and no bytes */
		put(&m, len, 4);
		len = 4;
		sent = 0;
	}
	say_chunk(a->cookie, flags, type, len + 8);
	say(&m);
	say_content(at, thin_min(sent, len));
}

static void act_option(const struct asked *a)
{
	uint8_t type = next(), len = next();

	say_option_head(a->option ? a->what : OPT_GO,
			type & 0x80 ? 0x80000000u | (type & 0x7f) : type, len);
	say_script(len);
}

static void act_extents(const struct asked *a)
{
	uint8_t nr = next() % 32, context = next();
	struct message m = {.len = 0};

	put(&m, context, 4);
	for (uint8_t i = 0; i < nr; i++) {
		uint64_t len = next16();

		put(&m, (uint32_t)(len << next() % 32), 4);
		put(&m, next(), 4);
	}
	say_chunk(a->cookie, 1, 5, (uint32_t)m.len);
	say(&m);
}

static void act_header(const struct asked *a)
{
	uint16_t flags = next(), type = next();
	uint32_t len = next16();

	say_chunk(a->cookie, flags, type, len | next16() << 16);
}

static void act_all(void)
{
	while (nr_asked) {
		answer(&asked[0]);
		forget(0);
	}
}

/* Those after which a client can not know better. */
#define LIES                                                                             \
	(1u << ACT_RAW | 1u << ACT_OTHER_COOKIE | 1u << ACT_TWICE | 1u << ACT_CHUNK |    \
	 1u << ACT_OPTION | 1u << ACT_EXTENTS | 1u << ACT_HEADER)

static const uint32_t errors[8] = {1, 5, 12, 22, 28, 75, 95, 108};

/* About something that was asked: bit 6 of @act, the last of them. */
static void act_on(uint8_t act)
{
	size_t i = act & 0x40 && nr_asked ? nr_asked - 1 : 0;
	struct asked a = asked[i];

	if (!nr_asked)
		return;
	switch (act & 15) {
	case ACT_ERROR:
		say_error(a.cookie, errors[next() % 8]);
		break;
	case ACT_OTHER_COOKIE:
		a.cookie ^= 1u << next() % 8;
		answer(&a);
		break;
	case ACT_TWICE:
		answer(&a);
		answer(&a);
		break;
	case ACT_CUT:
		act_cut(&a);
		return;
	case ACT_CHUNK:
		act_chunk(&a);
		return;
	case ACT_OPTION:
		act_option(&a);
		return;
	case ACT_EXTENTS:
		act_extents(&a);
		break;
	case ACT_HEADER:
		act_header(&a);
		return;
	case ACT_FORGET:
		break;
	default:
		answer(&a);
		break;
	}
	forget(i);
}

/* Returns whether the turn goes on. */
static bool perform(void)
{
	uint8_t act = next();

	hostile.lied |= LIES >> (act & 15) & 1;
	switch (act & 15) {
	case ACT_RAW:
		say_script(next16());
		break;
	case ACT_CLOSE:
		wire_hang_up();
		return false;
	case ACT_SILENT:
		break;
	case ACT_ALL:
		act_all();
		break;
	default:
		act_on(act);
		break;
	}
	return act & 0x80;
}

static bool turn(void)
{
	while (hear())
		;
	if (!nr_script && !honest_after)
		return false;
	if (!nr_script) {
		bool any = nr_asked;

		act_all();
		return any;
	}
	while (perform() && nr_script)
		;
	return true;
}

/* --- connections ------------------------------------------------------------------ */

static void read_facts(void)
{
	static const uint64_t sizes[8] = {
		65536,	  65536, 65537, 12345, UINT64_C(1) << 40, 0, UINT64_C(1) << 63,
		INT64_MAX};
	uint8_t b;

	export_flags = 0x6d; /* all but read-only: flush, FUA, trim, zeroes */
	if (nr_script)
		export_flags = (uint16_t)next16();
	b = next();
	export_size = sizes[b & 7];
	export_blocks = b >> 3 & 7;
	export_name = b >> 6;
}

static bool accept_one(void)
{
	uint8_t manner = nr_script ? next() : 0;
	struct message m = {.len = 0};

	if (!nr_script && !honest_after)
		return false;
	read_facts();
	structured = no_zeroes = false;
	nr_asked = nr_head = 0;
	data_left = 0;
	memcpy(hostile.content, hostile.durable, sizeof(hostile.content));
	hostile.unflushed = false;
	hostile.lied |= manner % 8 == 6;
	hostile.can_flush = export_flags & FLAG_FLUSH;
	put(&m, UINT64_C(0x4e42444d41474943), 8);
	switch (manner % 8) {
	case 4: /* of old */
		put(&m, UINT64_C(0x420281861253), 8);
		put(&m, export_size, 8);
		put(&m, export_flags, 4);
		m.len += 124;
		break;
	case 5:
		return false;
	case 6: /* the script has it */
		m.len = 0;
		break;
	default:
		put(&m, OPTION_MAGIC, 8);
		put(&m, manner % 8 == 7 ? next() : 3, 2);
		break;
	}
	say(&m);
	return true;
}

void hostile_begin(const uint8_t *bytes, size_t size, bool honest)
{
	static const struct wire_server server = {.accept = accept_one, .turn = turn};

	script = bytes;
	nr_script = size;
	honest_after = honest;
	hostile = (struct hostile){.reads = 0};
	for (size_t i = 0; i < HOSTILE_DISK; i++)
		hostile.durable[i] = HOSTILE_UNKNOWN;
	wire_begin(&server);
}

void hostile_end(void)
{
	wire_end();
}
