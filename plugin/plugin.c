/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit-thin-plugin: nbdkit's callbacks, translated into libthinbd's calls.
 *
 * nbdkit forks between .get_ready and .after_fork.  In the former everything
 * is opened, locked and checked, while errors still reach the terminal and
 * privileges are still there; in the latter threads and rings start.  When
 * something fails in between, only .unload is called.
 */
#include "clients.h"
#include "config.h"
#include "extents.h"

#define NBDKIT_API_VERSION 2
#define THREAD_MODEL	   NBDKIT_THREAD_MODEL_PARALLEL
#include <nbdkit-plugin.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* -D thin.io=1: each request.  commit: each commit.  alloc: used blocks. */
NBDKIT_DLL_PUBLIC int thin_debug_io;
NBDKIT_DLL_PUBLIC int thin_debug_commit;
NBDKIT_DLL_PUBLIC int thin_debug_alloc;

#define MAX_BLOCK (UINT32_C(32) << 20)
#define MIN_BLOCK UINT32_C(512) /* the least that may be called preferred */

/* How long requests may take when the server is told to end. */
#define PATIENCE_S 30

static struct thinbd *pool;

/*
 * A request that does not end (it waits for room, say) must find neither the
 * pool gone nor the plugin.  Then it is as if we had been killed: safe.
 */
static void close_pool(void)
{
	if (!clients_end(PATIENCE_S)) {
		nbdkit_error("requests do not end: gone without closing the pool");
		_exit(EXIT_FAILURE);
	}
	if (thinbd_close(pool) < 0)
		nbdkit_error("the last commit failed: what was not flushed is lost");
	pool = NULL;
}

static void thin_unload(void)
{
	close_pool();
	config_free();
}

static void thin_dump_plugin(void)
{
	printf("thin_format=dm-thin-2\n");
	printf("thin_io_uring=%s\n", thinbd_has_io_uring() ? "yes" : "no");
	printf("thin_libnbd=%s\n", thinbd_libnbd_version());
}

/* --- the server's life --------------------------------------------------- */

static void on_event(void *ctx, enum thinbd_event event, const char *text)
{
	(void)ctx;
	if (event == THINBD_EVENT_NOTE)
		nbdkit_debug("%s", text);
	else
		nbdkit_error("%s", text);
}

static int thin_get_ready(void)
{
	struct thinbd_params params = *config_params();
	struct thinbd_error e;

	params.command = "nbdkit";
	params.event = on_event;
	if (thinbd_open(&params, &pool, &e) < 0 || thinbd_listen(pool, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	return 0;
}

static int thin_after_fork(void)
{
	struct thinbd_error e;

	if (thinbd_start(pool, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	return 0;
}

/* --- exports ------------------------------------------------------------- */

/* The beginning of each request.  NULL, with the error set: it is the end. */
static struct thinbd_volume *begin(struct client *c)
{
	if (client_enter(c))
		return client_volume(c);
	nbdkit_set_error(ESHUTDOWN);
	return NULL;
}

static int add_export(void *ctx, const struct thinbd_export *x)
{
	return nbdkit_add_export(ctx, x->name, x->description) < 0 ? -ENOMEM : 0;
}

static int thin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	(void)readonly;
	(void)is_tls;
	if (!client_enter(client_lobby))
		return -1;
	int r = thinbd_exports(pool, add_export, exports);
	client_leave(client_lobby);
	if (r < 0) {
		nbdkit_error("can not list the volumes: %s", thinbd_errname(r));
		return -1;
	}
	return 0;
}

static const char *thin_default_export(int readonly, int is_tls)
{
	char name[THINBD_NAME_MAX + 1];
	struct thinbd_error e;

	(void)readonly;
	(void)is_tls;
	if (!client_enter(client_lobby))
		return NULL;
	int r = thinbd_default_export(pool, name, &e);
	client_leave(client_lobby);
	if (r < 0) {
		nbdkit_error("%s", e.text);
		return NULL;
	}
	return nbdkit_strdup_intern(name);
}

static const char *thin_export_description(void *handle)
{
	struct thinbd_volume *v = begin(handle);
	char *text;

	if (!v)
		return NULL;
	int r = thinbd_export_description(pool, thinbd_volume_name(v), &text);
	client_leave(handle);
	if (r < 0)
		return NULL;
	const char *kept = nbdkit_strdup_intern(text);
	free(text);
	return kept;
}

/* --- errors -------------------------------------------------------------- */

/*
 * What goes over the wire.  NBD knows few errors; those that stand here have
 * a meaning to clients (ENOSPC pauses a guest), the rest is EIO.  A failed
 * pool is EIO too: NBD's ESHUTDOWN is for servers that go away in order.
 */
static int wire_error(int err)
{
	switch (-err) {
	case ENOSPC:
	case ENOBUFS:
	case EDQUOT:
		return ENOSPC;
	case EROFS:
		return EROFS;
	case EINVAL:
	case ERANGE:
		return EINVAL;
	case ENOMEM:
		return ENOMEM;
	case ENOTSUP:
		return ENOTSUP;
	default:
		return EIO;
	}
}

/* The end of each request: 0, or -1 with the error told. */
static int done(struct client *c, const char *what, uint64_t offset, uint64_t count,
		int err)
{
	if (err < 0 && err != -ENOTSUP)
		nbdkit_error("%s: %s of %" PRIu64 " bytes at %" PRIu64 ": %s",
			     thinbd_volume_name(client_volume(c)), what, count, offset,
			     thinbd_errname(err));
	client_leave(c);
	if (err >= 0)
		return 0;
	nbdkit_set_error(wire_error(err));
	return -1;
}

static int refused(int err, const struct thinbd_error *e)
{
	nbdkit_error("%s", e->text);
	nbdkit_set_error(wire_error(err));
	return -1;
}

/* --- debugging ----------------------------------------------------------- */

static void trace(struct thinbd_volume *v, const char *what, uint64_t offset,
		  uint64_t count, uint32_t flags)
{
	if (thin_debug_io)
		nbdkit_debug("thin.io: %s: %s %" PRIu64 "+%" PRIu64 "%s%s%s",
			     thinbd_volume_name(v), what, offset, count,
			     flags & NBDKIT_FLAG_FUA ? " fua" : "",
			     flags & NBDKIT_FLAG_MAY_TRIM ? " may-trim" : "",
			     flags & NBDKIT_FLAG_FAST_ZERO ? " fast" : "");
}

/* After a request that may change the pool: say what it came to. */
static void trace_pool(void)
{
	static _Atomic uint64_t last_used, last_commits;
	struct thinbd_counters c;

	if (!thin_debug_alloc && !thin_debug_commit)
		return;
	thinbd_counters(pool, &c);
	uint64_t used = atomic_exchange(&last_used, c.data_used);
	uint64_t commits = atomic_exchange(&last_commits, c.commits);

	if (thin_debug_alloc && used != c.data_used)
		nbdkit_debug("thin.alloc: %" PRIu64 " of %" PRIu64
			     " data blocks used, %" PRIu64 " before; %" PRIu64
			     " of %" PRIu64 " metadata blocks",
			     c.data_used, c.data_total, used, c.metadata_used,
			     c.metadata_total);
	if (thin_debug_commit && commits != c.commits)
		nbdkit_debug("thin.commit: %" PRIu64 " commits", c.commits);
}

/* --- connections --------------------------------------------------------- */

static struct client *let_in(const char *name, bool read_only)
{
	struct thinbd_volume *v;
	struct thinbd_error e;
	int r = thinbd_volume_open(pool, name, read_only, &v, &e);

	if (r < 0) {
		(void)refused(r, &e);
		return NULL;
	}
	struct client *c = client_new(v);
	if (!c) {
		nbdkit_error("%s: no memory", thinbd_volume_name(v));
		thinbd_volume_close(v);
	}
	return c;
}

static void *thin_open(int readonly)
{
	const char *name = nbdkit_export_name();

	if (!name || !client_enter(client_lobby))
		return NULL;
	struct client *c = let_in(name, readonly);

	client_leave(client_lobby);
	return c;
}

static void thin_close(void *handle)
{
	client_free(handle);
}

static int64_t thin_get_size(void *handle)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	uint64_t size = thinbd_volume_size(v);
	client_leave(handle);
	return (int64_t)size;
}

static int thin_can_write(void *handle)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	bool read_only = thinbd_volume_read_only(v);
	client_leave(handle);
	return !read_only;
}

static int thin_yes(void *handle)
{
	(void)handle;
	return 1;
}

static int thin_no(void *handle)
{
	(void)handle;
	return 0;
}

static int thin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int thin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NATIVE;
}

/*
 * Any size is served.  Preferred is the largest power of two whose multiples
 * are pool blocks.
 */
static int thin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			   uint32_t *maximum)
{
	struct thinbd_counters c;

	if (!begin(handle))
		return -1;
	thinbd_counters(pool, &c);
	client_leave(handle);
	uint64_t power = c.block_size & -c.block_size;

	if (power > MAX_BLOCK)
		power = MAX_BLOCK;
	if (power < MIN_BLOCK)
		power = MIN_BLOCK;
	*minimum = 1;
	*preferred = (uint32_t)power;
	*maximum = MAX_BLOCK;
	return 0;
}

/* --- I/O ----------------------------------------------------------------- */

static unsigned flags_of(uint32_t flags)
{
	return (flags & NBDKIT_FLAG_FUA ? THINBD_FUA : 0) |
	       (flags & NBDKIT_FLAG_MAY_TRIM ? THINBD_MAY_TRIM : 0) |
	       (flags & NBDKIT_FLAG_FAST_ZERO ? THINBD_FAST_ZERO : 0);
}

static int thin_pread(void *handle, void *buf, uint32_t count, uint64_t offset,
		      uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "read", offset, count, flags);
	return done(handle, "read", offset, count, thinbd_read(v, buf, offset, count));
}

static int thin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
		       uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "write", offset, count, flags);
	int r = thinbd_write(v, buf, offset, count, flags_of(flags));
	trace_pool();
	return done(handle, "write", offset, count, r);
}

static int thin_flush(void *handle, uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "flush", 0, 0, flags);
	int r = thinbd_flush(v);
	trace_pool();
	return done(handle, "flush", 0, thinbd_volume_size(v), r);
}

static int thin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "trim", offset, count, flags);
	int r = thinbd_trim(v, offset, count, flags_of(flags));
	trace_pool();
	return done(handle, "trim", offset, count, r);
}

static int thin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "zero", offset, count, flags);
	int r = thinbd_zero(v, offset, count, flags_of(flags));
	trace_pool();
	return done(handle, "zero", offset, count, r);
}

static int thin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			struct nbdkit_extents *extents)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "extents", offset, count, flags);
	return done(
		handle, "extents", offset, count,
		report_extents(v, offset, count, flags & NBDKIT_FLAG_REQ_ONE, extents));
}

static int thin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct thinbd_volume *v = begin(handle);

	if (!v)
		return -1;
	trace(v, "cache", offset, count, flags);
	return done(handle, "cache", offset, count, thinbd_cache(v, offset, count));
}

static struct nbdkit_plugin plugin = {
	.name = "thin",
	.longname = "thinbd thin volumes",
	.version = THINBD_VERSION,
	.description = "Serves thin volumes, with snapshots and external origins, from a "
		       "pool in dm-thin's own format.",
	.unload = thin_unload,
	.config = config_set,
	.config_complete = config_check,
	.config_help = CONFIG_HELP,
	.magic_config_key = "pool",
	.dump_plugin = thin_dump_plugin,
	.get_ready = thin_get_ready,
	.after_fork = thin_after_fork,
	.cleanup = close_pool,
	.list_exports = thin_list_exports,
	.default_export = thin_default_export,
	.export_description = thin_export_description,
	.open = thin_open,
	.close = thin_close,
	.get_size = thin_get_size,
	.block_size = thin_block_size,
	.can_write = thin_can_write,
	.can_flush = thin_yes,
	.is_rotational = thin_no,
	.can_trim = thin_yes,
	.can_zero = thin_yes,
	.can_fast_zero = thin_yes,
	.can_fua = thin_can_fua,
	.can_multi_conn = thin_yes,
	.can_cache = thin_can_cache,
	.can_extents = thin_yes,
	.pread = thin_pread,
	.pwrite = thin_pwrite,
	.flush = thin_flush,
	.trim = thin_trim,
	.zero = thin_zero,
	.extents = thin_extents,
	.cache = thin_cache,
	.errno_is_preserved = 1,
};

/* nbdkit's macro defines it, and says nowhere that it is there. */
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
