/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "hostile_server.h"
#include "storage/nbd_conn.h"
#include "util/checked.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

/*
 * Our client against a server who may say anything, and hang up whenever he
 * likes.  Byte 0 of the input is about the run; what the client calls is read
 * from the input's end backwards, 4 bytes a call, until one is END; what is
 * between is the server's script.
 *
 * What must be true, besides that each call comes back:
 *
 *  - a byte that the server did not send is never handed to the caller;
 *  - what an honest server sent is what was written, or the call fails;
 *  - S2: when a flush has returned, the server has heard, and was asked to
 *    flush on the same connection, all that was done before; he forgets the
 *    rest whenever he hangs up;
 *  - extents are in order and without gaps, and not beyond what was asked;
 *  - after a failed flush none succeeds (S4).
 */

#define MAX_CALLS 24u
#define LONGEST	  16384u

enum call {
	READ,
	WRITE,
	ZERO,
	PUNCH,
	FLUSH,
	EXTENTS,
	SCATTER,
	END
};

struct run {
	struct thin_storage *s;
	uint64_t size;
	bool writes;
	int flush_error;
	uint8_t stamp;
	int16_t expected[HOSTILE_DISK];
};

static struct run run;

const char *__asan_default_options(void);

/* New memory looks like what was never sent. */
const char *__asan_default_options(void)
{
	return "max_malloc_fill_size=67108864:malloc_fill_byte=190";
}

/* --- what the caller may believe ---------------------------------------------------- */

static void expect(uint64_t offset, uint64_t len, int16_t value)
{
	uint64_t end = thin_min(offset + len, HOSTILE_DISK);

	for (uint64_t i = offset; i < end; i++)
		run.expected[i] = value;
}

static void check_content(uint64_t offset, const uint8_t *buf, size_t len)
{
	size_t unsent = 0;

	for (size_t i = 0; i < len; i++) {
		unsent = buf[i] == HOSTILE_NEVER ? unsent + 1 : 0;
		MUST(unsent < 3);
		if (!hostile.lied && offset + i < HOSTILE_DISK &&
		    run.expected[offset + i] >= 0)
			MUST(buf[i] == run.expected[offset + i]);
	}
}

static void check_durable(unsigned flushes_before)
{
	if (hostile.flushes == flushes_before) {
		MUST(hostile.lied || !hostile.unflushed);
		return;
	}
	for (size_t i = 0; i < HOSTILE_DISK; i++)
		MUST(run.expected[i] < 0 || run.expected[i] == hostile.durable[i]);
}

/* --- the calls ---------------------------------------------------------------------- */

/* Every other one of @len bytes, in more pieces than are sent together. */
static void call_scatter(uint64_t offset, size_t len)
{
	static uint8_t buf[LONGEST];
	struct thin_segment seg[100];
	size_t nr = 0;

	memset(buf, HOSTILE_NEVER, sizeof(buf));
	for (size_t at = 0; at < len && nr < 100; at += 128, nr++)
		seg[nr] = (struct thin_segment){offset + at, buf + at,
						thin_min(64, len - at)};
	if (nr && !thin_storage_read(run.s, seg, nr))
		for (size_t i = 0; i < nr; i++)
			check_content(seg[i].offset, seg[i].buf, seg[i].len);
}

static void call_read(uint64_t offset, size_t len)
{
	static uint8_t buf[LONGEST];

	memset(buf, HOSTILE_NEVER, len);
	if (!thin_storage_read_at(run.s, offset, buf, len))
		check_content(offset, buf, len);
}

/* Neighbours that were read, from whomever, and written back, are anything. */
static void changed(uint64_t offset, size_t len, int r, int16_t value,
		    unsigned reads_before)
{
	if (hostile.reads != reads_before)
		expect(0, HOSTILE_DISK, HOSTILE_UNKNOWN);
	expect(offset, len, r ? HOSTILE_UNKNOWN : value);
}

static void call_change(enum call call, uint64_t offset, size_t len)
{
	static uint8_t buf[LONGEST];
	unsigned before = hostile.reads;
	int16_t value = 0;
	int r;

	if (call == WRITE) {
		run.stamp = run.stamp % 100 + 1;
		memset(buf, run.stamp, len);
		value = run.stamp;
		r = thin_storage_write_at(run.s, offset, buf, len);
	} else if (call == ZERO) {
		r = thin_storage_zero(run.s, offset, len);
	} else {
		r = thin_storage_punch(run.s, offset, len);
		value = HOSTILE_UNKNOWN;
	}
	MUST(run.writes || r == -EROFS);
	if (run.writes)
		changed(offset, len, r, value, before);
}

static void call_flush(void)
{
	unsigned before = hostile.flushes;
	int r = thin_storage_flush(run.s);

	if (!run.writes)
		return;
	MUST(!run.flush_error || r == run.flush_error);
	run.flush_error = r;
	if (!r)
		check_durable(before);
}

struct told {
	uint64_t next, end;
	unsigned left;
};

static int told_extent(void *ctx, uint64_t offset, uint64_t len,
		       enum thin_extent_type type)
{
	struct told *t = ctx;

	MUST(offset == t->next && len && thin_range_ok(offset, len, t->end));
	MUST(type == THIN_EXTENT_DATA || type == THIN_EXTENT_ZERO);
	t->next += len;
	return t->left-- ? 0 : -ECANCELED;
}

static void call_extents(uint64_t offset, size_t len, unsigned most)
{
	struct told t = {.next = offset, .end = offset + len, .left = most};
	int r = thin_storage_extents(run.s, offset, len, told_extent, &t);

	MUST(r || t.next == t.end);
}

static void do_call(const uint8_t b[4])
{
	uint64_t offset = (b[1] | (uint64_t)b[2] << 8) % LONGEST;
	size_t len = b[3] < 64 ? b[3] : b[3] % 2 ? b[3] << 6 : b[3] << 2;
	enum call call = b[0] & 7;

	if (b[0] & 0x80 && run.size > LONGEST)
		offset += run.size - LONGEST;
	offset = thin_min(offset, run.size);
	len = (size_t)thin_min(len, run.size - offset);
	if (call == READ)
		call_read(offset, len);
	else if (call == FLUSH)
		call_flush();
	else if (call == EXTENTS)
		call_extents(offset, len, b[0] & 0x40 ? 1 : UINT32_MAX);
	else if (call == SCATTER)
		call_scatter(offset, len);
	else
		call_change(call, offset, len);
}

/* How many calls the input has at its end. */
static size_t count_calls(const uint8_t *end, size_t size)
{
	size_t nr = 0;

	while (nr < MAX_CALLS && 4 * (nr + 1) <= size &&
	       (*(end - 4 * (nr + 1)) & 7) != END)
		nr++;
	return nr;
}

static void serve_calls(const uint8_t *end, size_t nr, uint8_t how)
{
	static const uint64_t patience[4] = {0, 200, 5000, 30000};

	thin_nbd_set_patience(run.s, patience[how >> 4 & 3]);
	MUST(!thin_storage_size(run.s, &run.size));
	if (how & 4)
		MUST(!thin_storage_start(run.s));
	for (size_t i = 1; i <= nr; i++)
		do_call(end - 4 * i);
	thin_storage_close(run.s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct thin_error e = {""};
	uint8_t how = size ? data[0] : 0;
	size_t nr;

	if (!size)
		return 0;
	nr = count_calls(end, size - 1);
	(void)mallopt(M_PERTURB, ~HOSTILE_NEVER & 0xff);
	run = (struct run){.writes = how & 1};
	expect(0, HOSTILE_DISK, HOSTILE_UNKNOWN);
	hostile_begin(data + 1, size - 1 - 4 * nr, how & 2);
	if (thin_storage_open_nbd("nbd://hostile", run.writes ? 0 : THIN_STORAGE_READONLY,
				  &run.s, &e))
		MUST(*e.text);
	else
		serve_calls(end, nr, how);
	hostile_end();
	return 0;
}
