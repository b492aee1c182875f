/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fsx over NBD (P2, P4): a volume reads as a plain file would after the same
 * operations.
 *
 *   fsx_nbd [OPERATIONS [EPISODES]]
 *
 * An episode is a pool with a geometry of its own.  Reads, writes, trims,
 * zeroes with all their flags, caches, flushes and block status go to one
 * volume over several connections, at any alignment, and to a shadow in
 * memory; meanwhile it is snapshotted, rolled back, resized, renamed,
 * flattened, and the server stopped or, after a flush, killed.  Now and then
 * all of all volumes is compared, in the end the pool is audited.
 *
 *   THINBD_SEED    episode i begins with THINBD_SEED + i
 *   THINBD_FSX_OPS operations instead of those of the command line
 *
 * The operations are in ops.log in the test's folder, kept after a failure.
 */
#include "../unit/seeded.h"
#include "fsx_shadow.h"
#include "served.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS 3
#define MAX_LEN	    (UINT64_C(4) << 20)
#define LOG_TAIL    30
#define HOLE_ZERO   (LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO)

static struct {
	struct seeded rnd;
	struct rules rules;
	struct base base;
	struct shadow vol[MAX_SHADOWS];
	size_t nr, at; /* volumes, and which is being worked on */
	unsigned named;
	struct nbd_handle *h[CONNECTIONS];
	uint8_t *buf, *back;
	FILE *log;
	uint64_t op;
} fsx;

/* --- choices, and what is written down about them -------------------------- */

static uint64_t below(uint64_t n)
{
	return seeded_below(&fsx.rnd, n);
}

static bool one_in(uint64_t n)
{
	return !below(n);
}

static struct shadow *current(void)
{
	return &fsx.vol[fsx.at];
}

static struct nbd_handle *any_connection(void)
{
	return fsx.h[below(CONNECTIONS)];
}

static void note(const char *what, uint64_t offset, uint64_t len, uint32_t flags)
{
	fprintf(fsx.log, "%" PRIu64 " %s %s %" PRIu64 " %" PRIu64 " %#x\n", fsx.op,
		current()->name, what, offset, len, flags);
}

static void note_verb(const char *what, const char *more)
{
	fprintf(fsx.log, "%" PRIu64 " %s %s %s\n", fsx.op, current()->name, what, more);
}

static void last_words(void)
{
	char command[PATH_MAX];

	fflush(fsx.log);
	snprintf(command, sizeof(command),
		 "{ tail -n %d %s/ops.log; tail -n 5 %s/server.log; } >&2", LOG_TAIL,
		 served.work, served.work);
	if (system(command))
		fprintf(stderr, "no log\n");
}

/* Short ones mostly, some as long as it gets. */
static uint64_t any_len(void)
{
	uint64_t dice = below(200);

	if (dice < 80)
		return 1 + below(512);
	if (dice < 130)
		return 1 + below(16384);
	if (dice < 197)
		return 1 + below(3 * fsx.rules.block_size < 262144
					 ? 3 * fsx.rules.block_size
					 : 262144);
	return 1 + below(MAX_LEN);
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A range in the volume: at any byte, at sectors, or at blocks. */
static void any_range(uint64_t *ret_offset, uint64_t *ret_len)
{
	static const uint64_t grains[] = {1, 1, 1, 512, 4096, 0, 0};
	uint64_t grain = grains[below(sizeof(grains) / sizeof(grains[0]))];
	uint64_t size = current()->size, len = any_len(), offset = below(size);

	if (!grain)
		grain = fsx.rules.block_size;
	offset = offset / grain * grain;
	len = (len + grain - 1) / grain * grain;
	*ret_len = at_most(at_most(len, MAX_LEN), size - offset);
	/* The very end, which need not be the end of anything. */
	*ret_offset = one_in(20) ? size - *ret_len : offset;
}

/* Trims and zeroes are often of many blocks. */
static void any_wide_range(uint64_t *ret_offset, uint64_t *ret_len)
{
	any_range(ret_offset, ret_len);
	if (one_in(3))
		*ret_len = 1 + below(current()->size - *ret_offset);
}

static void fill(uint8_t *p, uint64_t len)
{
	uint64_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t word = seeded_next(&fsx.rnd);
		memcpy(p + i, &word, 8);
	}
	for (; i < len; i++)
		p[i] = (uint8_t)seeded_next(&fsx.rnd);
}

/* --- comparing ------------------------------------------------------------- */

static void compare(struct nbd_handle *h, const struct shadow *s, uint64_t offset,
		    uint64_t len)
{
	while (len) {
		uint64_t n = at_most(len, MAX_LEN), wrong;

		NBD(nbd_pread(h, fsx.back, n, offset, 0));
		wrong = shadow_differs(s, fsx.back, offset, n);
		SHOULD(wrong == UINT64_MAX,
		       "%s: byte %" PRIu64 " (block %" PRIu64 " + %" PRIu64
		       ") is %#x, not %#x; read %" PRIu64 " + %" PRIu64,
		       s->name, wrong, wrong / fsx.rules.block_size,
		       wrong % fsx.rules.block_size, fsx.back[wrong - offset],
		       s->bytes[wrong], offset, n);
		offset += n;
		len -= n;
	}
}

/* What was changed, with what is around it. */
static void look_around(uint64_t offset, uint64_t len)
{
	uint64_t before = at_most(offset, below(70000));
	uint64_t after = at_most(current()->size - offset - len, below(70000));

	if (one_in(4))
		compare(any_connection(), current(), offset - before,
			len + before + after);
}

static void compare_all(void)
{
	for (size_t i = 0; i < fsx.nr; i++) {
		struct shadow *s = &fsx.vol[i];
		struct nbd_handle *h = served_connect(s->name);

		SHOULD((uint64_t)nbd_get_size(h) == s->size,
		       "%s: %" PRIi64 " bytes, not %" PRIu64, s->name, nbd_get_size(h),
		       s->size);
		SHOULD(nbd_is_read_only(h) == s->readonly, "%s: read-only", s->name);
		compare(h, s, 0, s->size);
		served_hang_up(h);
	}
}

/* --- connections ------------------------------------------------------------ */

static void hang_up(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		served_hang_up(fsx.h[i]);
		fsx.h[i] = NULL;
	}
}

static void connect_all(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		fsx.h[i] = served_connect(current()->name);
	SHOULD(nbd_can_multi_conn(fsx.h[0]) == 1, "no multi-conn");
}

/*
 * Until nobody is connected as far as the server knows: it hears of a hang-up
 * a moment later.
 */
static void wait_unused(void)
{
	char want[] = "\"clients\": 0";

	for (int i = 0; i < 2000; i++) {
		CLI("--json", "status");
		if (strstr(served.said, want))
			return;
		usleep(2000);
	}
	SHOULD(false, "clients that are gone are still counted: %s", served.said);
}

/* --- reads ------------------------------------------------------------------- */

static void do_read(void)
{
	uint64_t offset, len;

	any_range(&offset, &len);
	note("read", offset, len, 0);
	compare(any_connection(), current(), offset, len);
}

static void do_cache(void)
{
	uint64_t offset, len;

	any_range(&offset, &len);
	note("cache", offset, len, 0);
	NBD(nbd_cache(any_connection(), len, offset, 0));
	look_around(offset, len);
}

struct status {
	uint64_t offset, end, len;
	bool one;
};

static int on_extents(void *ctx, const char *context, uint64_t offset, uint32_t *entries,
		      size_t nr, int *error)
{
	struct status *s = ctx;

	(void)error;
	SHOULD(!strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION), "%s", context);
	SHOULD(offset == s->offset && nr >= 2 && nr % 2 == 0, "a strange reply");
	SHOULD(!s->one || nr == 2, "%zu extents, where one was asked for", nr / 2);
	for (size_t i = 0; i < nr; i += 2) {
		uint64_t at = s->offset + s->len;

		SHOULD(entries[i] && entries[i] <= s->end - at,
		       "an extent of %u bytes at %" PRIu64 ", asked up to %" PRIu64,
		       entries[i], at, s->end);
		SHOULD(entries[i + 1] == 0 || entries[i + 1] == HOLE_ZERO,
		       "an extent of type %u", entries[i + 1]);
		SHOULD(!i || entries[i + 1] != entries[i - 1], "twins are not joined");
		SHOULD(!entries[i + 1] || shadow_is_zero(current(), at, entries[i]),
		       "%u bytes at %" PRIu64 " are called zeros and are not", entries[i],
		       at);
		s->len += entries[i];
	}
	return 0;
}

/* Until all of the range is told. */
static void do_block_status(void)
{
	uint64_t offset, len, end;
	bool one = one_in(4);
	uint32_t flags = one ? LIBNBD_CMD_FLAG_REQ_ONE : 0;

	any_wide_range(&offset, &len);
	note("status", offset, len, flags);
	for (end = offset + len; offset < end;) {
		struct status s = {.offset = offset, .end = end, .one = one};
		nbd_extent_callback callback = {.callback = on_extents, .user_data = &s};

		NBD(nbd_block_status(any_connection(), end - offset, offset, callback,
				     flags));
		SHOULD(s.len, "no extent at %" PRIu64, offset);
		offset += s.len;
		if (one)
			break;
	}
}

/* --- changes ------------------------------------------------------------------ */

static void do_write(void)
{
	uint32_t flags = one_in(12) ? LIBNBD_CMD_FLAG_FUA : 0;
	uint64_t offset, len;

	any_range(&offset, &len);
	note("write", offset, len, flags);
	fill(fsx.buf, len);
	NBD(nbd_pwrite(any_connection(), fsx.buf, len, offset, flags));
	memcpy(current()->bytes + offset, fsx.buf, len);
	look_around(offset, len);
}

static void do_trim(void)
{
	uint32_t flags = one_in(10) ? LIBNBD_CMD_FLAG_FUA : 0;
	uint64_t offset, len;

	any_wide_range(&offset, &len);
	note("trim", offset, len, flags);
	NBD(nbd_trim(any_connection(), len, offset, flags));
	shadow_trim(current(), &fsx.rules, offset, len);
	look_around(offset, len);
}

/* A fast zero that is refused has done nothing. */
static void do_zero(void)
{
	uint32_t flags = (one_in(10) ? LIBNBD_CMD_FLAG_FUA : 0) |
			 (one_in(2) ? LIBNBD_CMD_FLAG_NO_HOLE : 0) |
			 (one_in(4) ? LIBNBD_CMD_FLAG_FAST_ZERO : 0);
	uint64_t offset, len;

	any_wide_range(&offset, &len);
	note("zero", offset, len, flags);
	if (nbd_zero(any_connection(), len, offset, flags) == 0)
		shadow_zero(current(), offset, len);
	else
		SHOULD((flags & LIBNBD_CMD_FLAG_FAST_ZERO) && nbd_get_errno() == ENOTSUP,
		       "%s", nbd_get_error());
	look_around(offset, len);
}

static void do_flush(void)
{
	note("flush", 0, 0, 0);
	NBD(nbd_flush(any_connection(), 0));
}

/* Past the end nothing can be done, and nothing is. */
static void do_past_end(void)
{
	uint64_t len = 1 + below(100000), offset = current()->size - below(len);
	struct nbd_handle *h = any_connection();
	int r;

	note("past-end", offset, len, 0);
	switch (below(4)) {
	case 0:
		r = nbd_pread(h, fsx.back, len, offset, 0);
		break;
	case 1:
		fill(fsx.buf, len);
		r = nbd_pwrite(h, fsx.buf, len, offset, 0);
		break;
	case 2:
		r = nbd_trim(h, len, offset, 0);
		break;
	default:
		r = nbd_zero(h, len, offset, 0);
	}
	SHOULD(r == -1, "went past the end");
	SHOULD(nbd_get_errno() == EINVAL || nbd_get_errno() == ENOSPC, "%s",
	       nbd_get_error());
	compare(h, current(), current()->size - 1, 1);
}

static void do_compare_all(void)
{
	note("compare-all", 0, 0, 0);
	compare_all();
}

/* --- the server's life --------------------------------------------------------- */

static void do_restart(void)
{
	note("restart", 0, 0, 0);
	hang_up();
	served_stop();
	if (one_in(4))
		CLI("check");
	served_start();
	connect_all();
	compare(any_connection(), current(), 0, current()->size);
}

static void do_kill(void)
{
	note("kill", 0, 0, 0);
	NBD(nbd_flush(any_connection(), 0));
	served_kill();
	hang_up();
	if (one_in(4))
		CLI("check");
	served_start();
	connect_all();
	compare(any_connection(), current(), 0, current()->size);
}

/* --- volumes as a whole ---------------------------------------------------------- */

/* A flush is one volume's: who leaves it for another must not wait with it. */
static void work_on(size_t i)
{
	NBD(nbd_flush(any_connection(), 0));
	hang_up();
	fsx.at = i;
	connect_all();
}

static struct shadow *new_shadow(void)
{
	return fsx.nr < MAX_SHADOWS ? &fsx.vol[fsx.nr] : NULL;
}

static void size_text(char text[32], uint64_t size)
{
	snprintf(text, 32, "%" PRIu64, size);
}

static uint64_t any_size(void)
{
	return 100000 + below(MAX_SIZE / (one_in(3) ? 1 : 4) - 100000);
}

static void do_create(void)
{
	struct shadow *s = new_shadow();
	char name[40], size[32], origin[PATH_MAX];

	if (!s)
		return;
	snprintf(name, sizeof(name), "v%u", fsx.named++);
	snprintf(origin, sizeof(origin), "%s/base", served.work);
	shadow_init(s, name, any_size(), one_in(4) ? NULL : &fsx.base);
	size_text(size, s->size);
	note_verb("create", name);
	if (s->origin)
		CLI("create", name, "--size", size, "--origin", origin);
	else
		CLI("create", name, "--size", size);
	fsx.nr++;
}

static void do_snapshot(void)
{
	struct shadow *s = new_shadow();
	char name[40];
	bool writable = one_in(2);

	if (!s)
		return;
	if (writable)
		snprintf(name, sizeof(name), "v%u", fsx.named++);
	else
		snprintf(name, sizeof(name), "s@%u", fsx.named++);
	note_verb("snapshot", name);
	CLI("snapshot", current()->name, name);
	shadow_copy(s, current(), name);
	s->readonly = !writable;
	fsx.nr++;
}

static void do_delete(void)
{
	size_t i = below(fsx.nr);
	struct shadow *last = &fsx.vol[fsx.nr - 1];

	if (i == fsx.at || fsx.nr < MAX_SHADOWS / 2)
		return;
	note_verb("delete", fsx.vol[i].name);
	CLI("delete", fsx.vol[i].name);
	shadow_fini(&fsx.vol[i]);
	if (&fsx.vol[i] != last)
		fsx.vol[i] = *last;
	if (fsx.at == fsx.nr - 1)
		fsx.at = i;
	*last = (struct shadow){0};
	fsx.nr--;
}

static void do_switch(void)
{
	size_t i = below(fsx.nr);

	if (fsx.vol[i].readonly)
		return;
	note_verb("switch", fsx.vol[i].name);
	work_on(i);
	compare(any_connection(), current(), 0, current()->size);
}

static void do_rollback(void)
{
	for (size_t i = 0; i < fsx.nr; i++) {
		if (strcmp(fsx.vol[i].parent, current()->name) != 0)
			continue;
		note_verb("rollback", fsx.vol[i].name);
		hang_up();
		wait_unused();
		CLI("rollback", current()->name, fsx.vol[i].name);
		shadow_roll_back(current(), &fsx.vol[i]);
		connect_all();
		compare(any_connection(), current(), 0, current()->size);
		return;
	}
}

/* Growing is for volumes in use, too; shrinking is not. */
static void do_resize(void)
{
	uint64_t old = current()->size, size = any_size();
	char text[32];

	size_text(text, size);
	note_verb("resize", text);
	if (size < old || one_in(2)) {
		hang_up();
		wait_unused();
	}
	CLI("resize", current()->name, text, "--force");
	if (fsx.h[0])
		hang_up();
	shadow_resize(current(), size);
	connect_all();
	SHOULD((uint64_t)nbd_get_size(fsx.h[0]) == size, "not resized");
	compare(any_connection(), current(), 0, size);
}

static void do_rename(void)
{
	struct shadow *s = &fsx.vol[below(fsx.nr)];
	char name[40];

	snprintf(name, sizeof(name), "%s%u", s->readonly ? "r@" : "r", fsx.named++);
	fprintf(fsx.log, "%" PRIu64 " %s rename %s\n", fsx.op, s->name, name);
	CLI("rename", s->name, name);
	for (size_t i = 0; i < fsx.nr; i++)
		if (!strcmp(fsx.vol[i].parent, s->name))
			snprintf(fsx.vol[i].parent, sizeof(name), "%s", name);
	snprintf(s->name, sizeof(s->name), "%s", name);
}

static void do_flatten(void)
{
	if (!current()->origin)
		return;
	note_verb("flatten", "");
	CLI("flatten", current()->name);
	shadow_drop_origin(current());
	compare(any_connection(), current(), 0, current()->size);
}

/* --- an episode -------------------------------------------------------------------- */

static const struct {
	unsigned weight;
	void (*run)(void);
} operations[] = {
	{2600, do_read},	 {2700, do_write},  {900, do_trim},
	{1300, do_zero},	 {150, do_cache},   {200, do_flush},
	{1200, do_block_status}, {60, do_past_end}, {10, do_compare_all},
	{60, do_snapshot},	 {60, do_delete},   {40, do_switch},
	{10, do_create},	 {20, do_rollback}, {20, do_resize},
	{10, do_rename},	 {3, do_flatten},   {12, do_restart},
	{12, do_kill},
};

#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void operate(void)
{
	uint64_t sum = 0, dice;
	size_t i;

	for (i = 0; i < NR_OPERATIONS; i++)
		sum += operations[i].weight;
	dice = below(sum);
	for (i = 0; dice >= operations[i].weight; i++)
		dice -= operations[i].weight;
	operations[i].run();
}

/* Shorter than most volumes, no multiple of anything, with holes. */
static void make_base(void)
{
	uint64_t size = 50001 + below(MAX_SIZE / 3);
	char path[PATH_MAX];
	int fd;

	fsx.base.size = size;
	memset(fsx.base.bytes, 0, MAX_SIZE);
	for (uint64_t at = 0; at < size; at += 1 + below(300000)) {
		uint64_t n = at_most(1 + below(300000), size - at);
		fill(fsx.base.bytes + at, n);
		at += n;
	}
	snprintf(path, sizeof(path), "%s/base", served.work);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	SHOULD(fd >= 0 && !ftruncate(fd, (off_t)size), "%s: %m", path);
	for (uint64_t at = 0; at < size; at += 4096) {
		uint64_t n = at_most(4096, size - at);
		static const uint8_t zeros[4096];

		if (memcmp(fsx.base.bytes + at, zeros, n) != 0)
			SHOULD(pwrite(fd, fsx.base.bytes + at, n, (off_t)at) ==
				       (ssize_t)n,
			       "%s: %m", path);
	}
	close(fd);
}

static void make_pool(void)
{
	static const char *const sizes[] = {"64K", "4K", "64K", "192K", "32K", "1M"};
	static const uint64_t bytes[] = {65536, 4096, 65536, 196608, 32768, 1048576};
	static const char *const discards[] = {"passdown", "passdown", "passdown",
					       "nopassdown", "ignore"};
	static const char *const caches[] = {"1M", "64M"};
	static const char *const ios[] = {"auto", "auto", "sync"};
	size_t size = below(6), discard = below(5), cache = below(2), io = below(3);
	char settings[3][40];

	fsx.rules.block_size = bytes[size];
	fsx.rules.ignore_trims = discard == 4;
	snprintf(settings[0], 40, "discard=%s", discards[discard]);
	snprintf(settings[1], 40, "metadata_cache=%s", caches[cache]);
	snprintf(settings[2], 40, "io=%s", ios[io]);
	printf("  blocks of %s, %s, %s, %s, origin of %" PRIu64 " bytes\n", sizes[size],
	       settings[0], settings[1], settings[2], fsx.base.size);
	CLI("init", "--data-size", "256M", "--block-size", sizes[size], "--set",
	    settings[0], "--set", settings[1], "--set", settings[2]);
}

static void open_log(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/ops.log", served.work);
	fsx.log = fopen(path, "we");
	SHOULD(fsx.log, "%s: %m", path);
}

static void episode(uint64_t ops)
{
	open_log();
	make_base();
	make_pool();
	served_start();
	do_create();
	connect_all();
	for (fsx.op = 1; fsx.op <= ops; fsx.op++)
		operate();
	compare_all();
	hang_up();
	served_audit();
	served_start();
	compare_all();
	served_stop();
	while (fsx.nr)
		shadow_fini(&fsx.vol[--fsx.nr]);
	fsx.at = fsx.named = 0;
	fclose(fsx.log);
	served_clear();
}

int main(int argc, char **argv)
{
	const char *more = getenv("THINBD_FSX_OPS");
	uint64_t ops = more	  ? strtoull(more, NULL, 0)
		       : argc > 1 ? strtoull(argv[1], NULL, 0)
				  : 20000;
	uint64_t episodes = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t seed = seeded_start("fsx_nbd").state, begun;

	served_init();
	fsx.buf = malloc(MAX_LEN);
	fsx.back = malloc(MAX_LEN);
	fsx.base.bytes = malloc(MAX_SIZE);
	SHOULD(fsx.buf && fsx.back && fsx.base.bytes, "no memory");
	served_last_words = last_words;
	for (uint64_t i = 0; i < episodes; i++) {
		fsx.rnd.state = seed + i;
		snprintf(served_replay, sizeof(served_replay),
			 "THINBD_SEED=%" PRIu64 " %s %" PRIu64, seed + i, argv[0],
			 ops / episodes);
		printf("%s\n", served_replay);
		begun = served_now();
		episode(ops / episodes);
		printf("  %" PRIu64 " operations, %.1f s\n", ops / episodes,
		       (double)(served_now() - begun) / 1e9);
		fflush(stdout);
	}
	printf("%" PRIu64 " operations in %" PRIu64 " pools\n", ops / episodes * episodes,
	       episodes);
	free(fsx.buf);
	free(fsx.back);
	free(fsx.base.bytes);
	served_fini();
	return 0;
}
