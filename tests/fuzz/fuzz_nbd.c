/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "cellar.h"
#include "fake_nbdkit.h"
#include "pools.h"

#include <errno.h>
#include <string.h>

/*
 * The plugin as nbdkit calls it, on behalf of clients who may ask for
 * anything: exports by any name, several connections, requests of any place,
 * length and flags (out of the volume too, which nbdkit would not let
 * through).  What is read is compared with plain arrays; extents have to be
 * exact, and what they call zero has to be.
 *
 * nbdkit itself, and the protocol, is not ours to fuzz.  The pool stays open
 * from run to run, as the plugin can be loaded once only; each run writes the
 * volumes' first content again.
 */

#define SIZE	    CELLAR_SIZE
#define VOLUMES	    3
#define CONNECTIONS 4
#define MAX_STEPS   200u

static const char *const names[VOLUMES] = {"vm1", "vm1@s", "vm2"};

struct connection {
	void *handle;
	unsigned volume;
	bool read_only;
};

static struct nbdkit_plugin *plugin;
static uint8_t content[VOLUMES][SIZE];
static struct connection connections[CONNECTIONS];

/* What is below a volume, and shows where nothing is mapped. */
static uint8_t below(unsigned volume, uint64_t at)
{
	return volume == 2 ? cellar_byte(2, at) : 0;
}

/* --- connections ---------------------------------------------------------------- */

static void ask_all(struct connection *c)
{
	uint32_t min = 0, preferred = 0, max = 0;

	MUST(plugin->get_size(c->handle) == (int64_t)SIZE);
	MUST(plugin->can_write(c->handle) == !c->read_only);
	MUST(!plugin->block_size(c->handle, &min, &preferred, &max));
	MUST(min == 1 && preferred == CELLAR_BLOCK && max >= preferred);
	MUST(plugin->export_description(c->handle));
	MUST(plugin->can_multi_conn(c->handle) == 1);
	MUST(plugin->can_flush(c->handle) == 1 && plugin->can_trim(c->handle) == 1);
}

/* "" has no meaning where there are several volumes. */
static void open_by(struct connection *c, const char *name, bool read_only)
{
	unsigned v = 0;

	while (v < VOLUMES && strcmp(name, names[v]))
		v++;
	fake_export_name = name;
	fake_told = false;
	c->handle = plugin->open(read_only);
	MUST(!c->handle == (v == VOLUMES));
	if (!c->handle) {
		MUST(fake_told);
		return;
	}
	c->volume = v;
	c->read_only = read_only || v == 1;
	ask_all(c);
}

static void hang_up(struct connection *c)
{
	if (c->handle)
		plugin->close(c->handle);
	c->handle = NULL;
}

static void do_open(struct connection *c, struct tape *t)
{
	unsigned choice = (unsigned)tape_take(t, 1);
	char name[256];

	hang_up(c);
	if (choice & 4) {
		size_t len = choice >> 3;

		for (size_t i = 0; i < len; i++)
			name[i] = (char)tape_take(t, 1);
		name[len] = '\0';
		open_by(c, name, choice & 1);
	} else {
		open_by(c, names[(choice >> 3) % VOLUMES], choice & 1);
	}
}

static void do_list(void)
{
	struct nbdkit_exports exports = {0};

	MUST(!plugin->list_exports(0, 0, &exports));
	MUST(exports.nr == VOLUMES);
	fake_told = false;
	MUST(!plugin->default_export(0, 0) && fake_told);
}

/* --- requests -------------------------------------------------------------------- */

struct request {
	uint64_t offset;
	uint32_t count;
	uint32_t flags;
	bool fits;
};

static struct request take_request(struct tape *t)
{
	unsigned shape = (unsigned)tape_take(t, 1);
	struct request r = {.offset = tape_take(t, 2)};

	r.count = (uint32_t)tape_take(t, 2) + 1;
	r.flags = (uint32_t)(shape & 0x0f);
	if (shape & 0x10)
		r.offset -= r.offset % CELLAR_BLOCK;
	if (shape & 0x20)
		r.count = (uint32_t)(r.count / CELLAR_BLOCK + 1) * CELLAR_BLOCK;
	if (shape & 0xc0 && r.offset + r.count > SIZE) /* mostly */
		r.count = (uint32_t)(SIZE - r.offset);
	r.fits = r.offset + r.count <= SIZE;
	return r;
}

static uint8_t buf[2 * SIZE];

static void read_back(struct connection *c, const struct request *r)
{
	memset(buf, 0xa5, r->count);
	MUST(!plugin->pread(c->handle, buf, r->count, r->offset, 0));
}

static void do_read(struct connection *c, const struct request *r)
{
	if (!r->fits) {
		MUST(plugin->pread(c->handle, buf, r->count, r->offset, 0) == -1);
		MUST(fake_errno == EINVAL);
		return;
	}
	read_back(c, r);
	MUST(!memcmp(buf, content[c->volume] + r->offset, r->count));
}

/*
 * A change that said @ret: each byte is what it was, or what @now says; if
 * it was done, only the latter, save for a trim.
 */
static void changed(struct connection *c, const struct request *r, int ret, bool either,
		    const uint8_t *now)
{
	uint8_t *was = content[c->volume] + r->offset;

	if (!r->fits || c->read_only) {
		MUST(ret == -1 && (fake_errno == EINVAL || fake_errno == EROFS));
		return;
	}
	MUST(!ret || fake_errno == ENOSPC || fake_errno == ENOTSUP);
	if (!ret && !either) {
		memcpy(was, now, r->count);
		return;
	}
	read_back(c, r);
	for (uint32_t i = 0; i < r->count; i++)
		MUST(buf[i] == was[i] || buf[i] == now[i]);
	memcpy(was, buf, r->count);
}

static uint8_t now[2 * SIZE];

static void do_write(struct connection *c, const struct request *r, uint8_t seed)
{
	for (uint32_t i = 0; i < r->count; i++)
		now[i] = (uint8_t)(seed + i / 64);
	changed(c, r,
		plugin->pwrite(c->handle, now, r->count, r->offset,
			       r->flags & NBDKIT_FLAG_FUA),
		false, now);
}

static void do_zero(struct connection *c, const struct request *r)
{
	memset(now, 0, r->count);
	changed(c, r, plugin->zero(c->handle, r->count, r->offset, r->flags), false, now);
}

static void do_trim(struct connection *c, const struct request *r)
{
	for (uint32_t i = 0; i < r->count; i++)
		now[i] = below(c->volume, r->offset + i);
	changed(c, r,
		plugin->trim(c->handle, r->count, r->offset, r->flags & NBDKIT_FLAG_FUA),
		true, now);
}

static void do_extents(struct connection *c, const struct request *r)
{
	struct nbdkit_extents x = {
		.begin = r->offset,
		.end = r->offset + r->count,
		.next = r->offset,
		.is_zero = now,
	};
	int ret = plugin->extents(c->handle, r->count, r->offset, r->flags, &x);

	MUST(r->fits ? !ret : ret == -1);
	MUST(ret || x.next > x.begin);
	MUST(ret || r->flags & NBDKIT_FLAG_REQ_ONE || x.next == x.end);
	for (uint64_t at = x.begin; at < x.next && !ret; at++)
		MUST(!now[at - x.begin] || !content[c->volume][at]);
}

enum step {
	STEP_OPEN,
	STEP_CLOSE,
	STEP_LIST,
	STEP_FLUSH,
	STEP_CACHE,
	STEP_READ,
	STEP_WRITE,
	STEP_ZERO,
	STEP_TRIM,
	STEP_EXTENTS,
	STEPS,
};

static void do_request(struct connection *c, enum step step, struct tape *t)
{
	struct request r = take_request(t);
	int ret;

	if (step == STEP_READ)
		do_read(c, &r);
	else if (step == STEP_WRITE)
		do_write(c, &r, (uint8_t)tape_take(t, 1));
	else if (step == STEP_ZERO)
		do_zero(c, &r);
	else if (step == STEP_TRIM)
		do_trim(c, &r);
	else if (step == STEP_EXTENTS)
		do_extents(c, &r);
	else if (step == STEP_CACHE) {
		ret = plugin->cache(c->handle, r.count, r.offset, r.flags);
		MUST(r.fits ? !ret : ret == -1);
	}
}

static void do_step(struct tape *t)
{
	unsigned byte = (unsigned)tape_take(t, 1);
	struct connection *c = &connections[byte / STEPS % CONNECTIONS];
	enum step step = (enum step)(byte % STEPS);

	if (step == STEP_LIST)
		do_list();
	else if (step == STEP_OPEN || !c->handle)
		do_open(c, t);
	else if (step == STEP_CLOSE)
		hang_up(c);
	else if (step == STEP_FLUSH)
		MUST(!plugin->flush(c->handle, 0));
	else
		do_request(c, step, t);
}

/* --- the server's life -------------------------------------------------------------- */

static void end(void)
{
	plugin->cleanup();
	plugin->unload();
	cellar_check();
}

static void begin(void)
{
	cellar_reset();
	plugin = plugin_init();
	MUST(!plugin->config("pool", cellar_dir()));
	MUST(!plugin->config_complete());
	MUST(!plugin->get_ready());
	MUST(!atexit(end));
}

/* vm1 is written anew, vm2 shows its origin; the snapshot never changed. */
static void first_content(void)
{
	struct connection c = {0};

	for (unsigned v = 0; v < VOLUMES; v++)
		for (uint64_t at = 0; at < SIZE; at++)
			content[v][at] = cellar_byte(v == 2 ? 2 : 1, at);
	open_by(&c, "vm1", false);
	MUST(!plugin->pwrite(c.handle, content[0], SIZE, 0, 0));
	hang_up(&c);
	open_by(&c, "vm2", false);
	MUST(!plugin->trim(c.handle, SIZE, 0, 0));
	MUST(!plugin->flush(c.handle, 0));
	hang_up(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape t = {data, data + size};

	if (!plugin)
		begin();
	first_content();
	for (unsigned i = 0; i < MAX_STEPS && t.at < t.end; i++)
		do_step(&t);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		hang_up(&connections[i]);
	return 0;
}
