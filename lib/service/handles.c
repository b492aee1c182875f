/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports: volumes that clients have open, and their I/O.
 *
 * A handle gets into the list under the service's lock, together with the
 * record that its name has then.  So whoever holds that lock, sees nobody
 * in the list and changes the record (delete, rollback, shrink) has the
 * volume to himself.  What takes time, opening the origin, comes after.
 */
#include "registry/name.h"
#include "service/io_counters.h"
#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct thinbd_volume {
	struct thinbd *t;
	struct thinbd_volume *next;	     /* handles_lock */
	unsigned references;		     /* handles_lock */
	const struct thin_volume_conf *conf; /* a reference */
	bool read_only;
	struct thin_volume *v;
	struct thin_counters *io; /* a reference */

	/* Held shared by each request; alone by who says it is open, or closes it. */
	struct thin_sharded_lock gate;
	atomic_bool revoked; /* no more requests */
};

_Static_assert(THINBD_FUA == THIN_FUA && THINBD_MAY_TRIM == THIN_MAY_UNMAP &&
		       THINBD_FAST_ZERO == THIN_FAST_ONLY,
	       "flags are handed through");
_Static_assert((int)THINBD_EXTENT_DATA == THIN_MAP_DATA &&
		       (int)THINBD_EXTENT_SHARED == THIN_MAP_SHARED &&
		       (int)THINBD_EXTENT_ORIGIN == THIN_MAP_ORIGIN &&
		       (int)THINBD_EXTENT_ZERO == THIN_MAP_ZERO,
	       "extents are handed through");
_Static_assert(THINBD_NAME_MAX == THIN_NAME_MAX, "the public header has its own");

/* --- the list of handles ------------------------------------------------- */

unsigned thin_clients_of(struct thinbd *t, uint32_t device)
{
	unsigned nr = 0;

	thin_mutex_lock(&t->handles_lock);
	for (struct thinbd_volume *h = t->handles; h; h = h->next)
		nr += !atomic_load(&h->revoked) &&
		      (device == THIN_NO_DEVICE || h->conf->device == device);
	thin_mutex_unlock(&t->handles_lock);
	return nr;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int thin_clients_all(struct thinbd *t, struct thin_clients *ret)
{
	struct thin_clients c = {0};
	size_t room = 1;

	thin_mutex_lock(&t->handles_lock);
	for (struct thinbd_volume *h = t->handles; h; h = h->next)
		room++;
	c.devices = calloc(room, sizeof(*c.devices));
	for (struct thinbd_volume *h = c.devices ? t->handles : NULL; h; h = h->next)
		if (!atomic_load(&h->revoked))
			c.devices[c.nr++] = h->conf->device;
	thin_mutex_unlock(&t->handles_lock);
	if (!c.devices)
		return -ENOMEM;
	qsort(c.devices, c.nr, sizeof(*c.devices), by_number);
	*ret = c;
	return 0;
}

/* How many are below @device. */
static size_t clients_below(const struct thin_clients *c, uint64_t device)
{
	size_t low = 0, high = c->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->devices[middle] < device)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned thin_clients_count(const struct thin_clients *c, uint32_t device)
{
	return (unsigned)(clients_below(c, (uint64_t)device + 1) -
			  clients_below(c, device));
}

bool thin_has_writers(struct thinbd *t, uint32_t device)
{
	bool found = false;

	thin_mutex_lock(&t->handles_lock);
	for (struct thinbd_volume *h = t->handles; h && !found; h = h->next)
		found = h->conf->device == device && !h->read_only &&
			!atomic_load(&h->revoked);
	thin_mutex_unlock(&t->handles_lock);
	return found;
}

static void link_handle(struct thinbd_volume *h)
{
	thin_mutex_lock(&h->t->handles_lock);
	h->next = h->t->handles;
	h->t->handles = h;
	thin_mutex_unlock(&h->t->handles_lock);
}

static void unlink_handle(struct thinbd_volume *h)
{
	thin_mutex_lock(&h->t->handles_lock);
	struct thinbd_volume **at = &h->t->handles;
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	thin_mutex_unlock(&h->t->handles_lock);
}

/* The last reference frees it. */
static void put_handle(struct thinbd_volume *h)
{
	thin_mutex_lock(&h->t->handles_lock);
	bool last = --h->references == 0;
	thin_mutex_unlock(&h->t->handles_lock);
	if (!last)
		return;
	thin_volume_conf_put(h->conf);
	thin_counters_put(h->io);
	thin_sharded_fini(&h->gate);
	free(h);
}

/* --- finding ------------------------------------------------------------- */

/* For what is no name and for what is nobody's, the same answer. */
static int no_such(const char *name, struct thin_error *e)
{
	char shown[THIN_NAME_ESCAPED];

	return thin_error_set(e, -ENOENT, "%s: no such volume; see `nbdinfo --list`",
			      thin_name_escape(name, shown));
}

static int find_conf(struct thinbd *t, const char *name,
		     const struct thin_volume_conf **ret, struct thin_error *e)
{
	if (!t->registry) { /* one volume, whatever it is called */
		*ret = thin_volume_conf_get(t->the_volume);
		return 0;
	}
	int r = thin_registry_find(t->registry, name, ret, e);
	return r == -ENOENT ? no_such(name, e) : r;
}

static int only_volume(struct thinbd *t, char ret[THINBD_NAME_MAX + 1],
		       struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(t->registry, &list);

	if (r)
		return r;
	if (!list.nr)
		return thin_error_set(
			e, -ENOENT,
			"%s: there is no volume in this pool yet; `thinbd create` "
			"makes one",
			t->dir);
	if (list.nr > 1)
		return thin_error_set(
			e, -ENOENT,
			"%s: there are %zu volumes, name one of them (`nbdinfo "
			"--list` shows them), or start the server with volume=NAME",
			t->dir, list.nr);
	snprintf(ret, THINBD_NAME_MAX + 1, "%s", list.at[0]->name);
	return 0;
}

static int default_name(struct thinbd *t, char ret[THINBD_NAME_MAX + 1],
			struct thin_error *e)
{
	if (!t->registry) {
		ret[0] = '\0';
		return 0;
	}
	if (!t->default_volume)
		return only_volume(t, ret, e);
	if (strlen(t->default_volume) > THINBD_NAME_MAX)
		return no_such(t->default_volume, e);
	strcpy(ret, t->default_volume);
	return 0;
}

static int tell(int r, const struct thin_error *why, struct thinbd_error *e)
{
	if (r && e) {
		e->code = r;
		snprintf(e->text, sizeof(e->text), "%s",
			 why->text[0] ? why->text : thin_strerror(r));
	}
	return r;
}

int thinbd_default_export(struct thinbd *t, char ret[THINBD_NAME_MAX + 1],
			  struct thinbd_error *e)
{
	struct thin_error why = {0};

	return tell(default_name(t, ret, &why), &why, e);
}

int thinbd_exports(struct thinbd *t, int (*fn)(void *ctx, const struct thinbd_export *x),
		   void *ctx)
{
	_cleanup_volume_list struct thin_volume_list list = {0};

	if (!t->registry)
		return fn(ctx, &(struct thinbd_export){.name = "", .description = ""});
	int r = thin_registry_list(t->registry, &list);
	for (size_t i = 0; !r && i < list.nr; i++) {
		const char *text = list.at[i]->description;
		r = fn(ctx, &(struct thinbd_export){.name = list.at[i]->name,
						    .description = text ? text : ""});
	}
	return r;
}

int thinbd_export_description(struct thinbd *t, const char *name, char **ret)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	int r = find_conf(t, name, &conf, NULL);

	if (r)
		return r;
	char *text = strdup(conf->description ? conf->description : "");
	if (!text)
		return -ENOMEM;
	*ret = text;
	return 0;
}

/* --- opening ------------------------------------------------------------- */

/* Has the volume another origin by now, or is it gone? */
static bool is_outdated(struct thinbd *t, const struct thin_volume_conf *conf)
{
	_cleanup_volume_conf const struct thin_volume_conf *now = NULL;

	if (!t->registry)
		return false;
	return thin_registry_find_device(t->registry, conf->device, &now) ||
	       !thin_same_origin(now, conf);
}

static int open_locked(struct thinbd *t, const struct thin_volume_conf *conf,
		       const struct thin_volume_params *params, struct thin_volume **ret,
		       struct thin_error *e) THIN_REQUIRES(t->lock)
{
	if (is_outdated(t, conf))
		return thin_error_set(e, -ESTALE, "%s: has another origin by now",
				      conf->name);
	int r = thin_volume_open(t->pool, params, ret);
	return r ? thin_error_set(e, r, "%s: device %u: %s", conf->name, conf->device,
				  r == -ENOENT ? "is not in the metadata"
					       : thin_strerror(r))
		 : 0;
}

/*
 * All opens of a volume have the same origin.  For it gets another one only under
 * the lock, and while nobody has it open; loses it only under the lock, and for
 * all who have it open; and is opened only under the lock, as it is then.  What
 * may take its time, opening the origin, comes before.
 */
int thin_open_conf(struct thinbd *t, const struct thin_volume_conf *conf, bool read_only,
		   struct thin_volume **ret, struct thin_error *e)
{
	_cleanup_origin struct thin_origin *origin = NULL;
	int r = thin_origin_get(t, conf, &origin, e);

	if (r)
		return r;
	struct thin_volume_params params = {
		.device = conf->device,
		.size = conf->size,
		.origin = origin,
		.origin_end = conf->origin_overlap,
		.read_only = read_only,
	};
	thin_mutex_lock(&t->lock);
	r = open_locked(t, conf, &params, ret, e);
	thin_mutex_unlock(&t->lock);
	return r;
}

/* Of a volume that is not open yet. */
static struct thinbd_volume *make_handle(struct thinbd *t,
					 const struct thin_volume_conf *conf)
{
	struct thinbd_volume *h =
		aligned_alloc(_Alignof(struct thinbd_volume), sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct thinbd_volume){.t = t, .conf = conf, .references = 1};
	h->io = thin_counters_get(t, conf->device);
	if (!h->io) {
		free(h);
		return NULL;
	}
	thin_sharded_init(&h->gate);
	return h;
}

static void drop_handle(struct thinbd_volume *h)
{
	unlink_handle(h);
	put_handle(h);
}

/* It may have been taken away already. */
static void have_opened(struct thinbd_volume *h, struct thin_volume *v)
{
	thin_sharded_write(&h->gate);
	if (!atomic_load(&h->revoked))
		h->v = thin_steal(v);
	thin_sharded_write_end(&h->gate);
	thin_volume_close(v);
}

/* A handle in the list, of the record that its name has. */
static int new_handle_locked(struct thinbd *t, const char *name,
			     enum thin_handle_mode mode, struct thinbd_volume **ret,
			     struct thin_error *e) THIN_REQUIRES(t->lock)
{
	const struct thin_volume_conf *conf;
	int r = find_conf(t, name, &conf, e);

	if (r)
		return r;
	*ret = make_handle(t, conf);
	if (!*ret) {
		thin_volume_conf_put(conf);
		return -ENOMEM;
	}
	(*ret)->read_only = mode == THIN_HANDLE_READ || t->read_only ||
			    (mode == THIN_HANDLE_WRITE && conf->readonly);
	link_handle(*ret);
	return 0;
}

static int new_handle(struct thinbd *t, const char *name, enum thin_handle_mode mode,
		      struct thinbd_volume **ret, struct thin_error *e)
{
	thin_mutex_lock(&t->lock);
	int r = new_handle_locked(t, name, mode, ret, e);
	thin_mutex_unlock(&t->lock);
	return r;
}

static bool is_current(struct thinbd_volume *h)
{
	_cleanup_volume_conf const struct thin_volume_conf *now = NULL;

	return !find_conf(h->t, h->conf->name, &now, NULL) && now == h->conf;
}

/*
 * @ret_again: the record was replaced meanwhile.  That may be why it failed; and
 * where it did not, others may have dropped the origin before it was opened here
 * with it.
 */
static int try_open(struct thinbd *t, const char *name, enum thin_handle_mode mode,
		    struct thinbd_volume **ret, bool *ret_again, struct thin_error *e)
{
	struct thin_volume *v = NULL;
	struct thinbd_volume *h;
	int r = new_handle(t, name, mode, &h, e);

	*ret_again = false;
	if (r)
		return r;
	r = thin_open_conf(t, h->conf, h->read_only, &v, e);
	*ret_again = !is_current(h);
	if (r || *ret_again) {
		thin_volume_close(v);
		drop_handle(h);
		return r;
	}
	have_opened(h, v);
	*ret = h;
	return 0;
}

int thin_handle_open(struct thinbd *t, const char *name, enum thin_handle_mode mode,
		     struct thinbd_volume **ret, struct thin_error *e)
{
	char wanted[THINBD_NAME_MAX + 1];
	bool again = true;
	int r = 0;

	if (!*name) {
		r = default_name(t, wanted, e);
		name = wanted;
	}
	if (r)
		return r;
	while (again)
		r = try_open(t, name, mode, ret, &again, e);
	return r;
}

int thinbd_volume_open(struct thinbd *t, const char *name, bool read_only,
		       struct thinbd_volume **ret, struct thinbd_error *e)
{
	enum thin_handle_mode mode = read_only ? THIN_HANDLE_READ : THIN_HANDLE_WRITE;
	struct thin_error why = {0};

	return tell(thin_handle_open(t, name, mode, ret, &why), &why, e);
}

/* Waits for requests that are being done; closes the volume once. */
static void close_handle(struct thinbd_volume *h)
{
	thin_sharded_write(&h->gate);
	thin_volume_close(thin_steal(h->v));
	thin_sharded_write_end(&h->gate);
}

void thinbd_volume_close(struct thinbd_volume *h)
{
	if (!h)
		return;
	close_handle(h);
	unlink_handle(h);
	put_handle(h);
}

/* The last one to use @t is this thread. */
void thin_close_handles(struct thinbd *t) THIN_NO_THREAD_SAFETY
{
	while (t->handles)
		thinbd_volume_close(t->handles);
}

/* --- taking away --------------------------------------------------------- */

/* A handle of @device that was not taken away yet, with a reference. */
static struct thinbd_volume *next_to_revoke(struct thinbd *t, uint32_t device)
{
	struct thinbd_volume *h;

	thin_mutex_lock(&t->handles_lock);
	for (h = t->handles; h; h = h->next)
		if (h->conf->device == device && !atomic_exchange(&h->revoked, true))
			break;
	if (h)
		h->references++;
	thin_mutex_unlock(&t->handles_lock);
	return h;
}

void thin_revoke(struct thinbd *t, uint32_t device)
{
	struct thinbd_volume *h;

	while ((h = next_to_revoke(t, device))) {
		close_handle(h);
		put_handle(h);
	}
}

/* --- facts --------------------------------------------------------------- */

uint64_t thinbd_volume_size(const struct thinbd_volume *h)
{
	return h->conf->size;
}

bool thinbd_volume_read_only(const struct thinbd_volume *h)
{
	return h->read_only;
}

const char *thinbd_volume_name(const struct thinbd_volume *h)
{
	return h->conf->name;
}

bool thin_handle_revoked(const struct thinbd_volume *h)
{
	return atomic_load(&h->revoked);
}

const struct thin_volume_conf *thin_handle_conf(const struct thinbd_volume *h)
{
	return h->conf;
}

/* --- I/O ----------------------------------------------------------------- */

/* Does @call unless the volume was taken away. */
#define WITH_VOLUME(h, call)                                                             \
	({                                                                               \
		thin_sharded_read(&(h)->gate);                                           \
		int r_ = atomic_load(&(h)->revoked) ? -ESHUTDOWN : (call);               \
		thin_sharded_read_end(&(h)->gate);                                       \
		r_;                                                                      \
	})

/* Likewise, a client's: it is counted. */
#define COUNTED(h, kind, bytes, call)                                                    \
	({                                                                               \
		uint64_t begin_ = thin_now_ns();                                         \
		int counted_ = WITH_VOLUME(h, call);                                     \
		thin_count((h)->io, kind, bytes, begin_, counted_);                      \
		counted_;                                                                \
	})

int thinbd_read(struct thinbd_volume *h, void *buf, uint64_t offset, size_t len)
{
	return COUNTED(h, THIN_IO_READ, len, thin_volume_read(h->v, buf, offset, len));
}

int thinbd_write(struct thinbd_volume *h, const void *buf, uint64_t offset, size_t len,
		 unsigned flags)
{
	return COUNTED(h, THIN_IO_WRITE, len,
		       thin_volume_write(h->v, buf, offset, len, flags));
}

int thinbd_trim(struct thinbd_volume *h, uint64_t offset, uint64_t len, unsigned flags)
{
	return COUNTED(h, THIN_IO_TRIM, len, thin_volume_trim(h->v, offset, len, flags));
}

int thinbd_zero(struct thinbd_volume *h, uint64_t offset, uint64_t len, unsigned flags)
{
	return COUNTED(h, THIN_IO_ZERO, len, thin_volume_zero(h->v, offset, len, flags));
}

int thinbd_flush(struct thinbd_volume *h)
{
	return COUNTED(h, THIN_IO_FLUSH, 0, thin_volume_flush(h->v));
}

int thinbd_cache(struct thinbd_volume *h, uint64_t offset, uint64_t len)
{
	return WITH_VOLUME(h, thin_volume_cache(h->v, offset, len));
}

int thin_handle_hydrate(struct thinbd_volume *h, uint64_t offset, uint64_t len)
{
	return WITH_VOLUME(h, thin_volume_hydrate(h->v, offset, len));
}

void thin_handle_drop_origin(struct thinbd_volume *h, struct thin_dropped *ret)
{
	*ret = (struct thin_dropped){0};
	thin_sharded_read(&h->gate);
	if (!atomic_load(&h->revoked))
		thin_volume_drop_origin(h->v, ret);
	thin_sharded_read_end(&h->gate);
}

struct relay {
	int (*fn)(void *ctx, uint64_t offset, uint64_t len, enum thinbd_extent kind);
	void *ctx;
};

static int relay_extent(void *ctx, uint64_t offset, uint64_t len, enum thin_map_type type)
{
	struct relay *r = ctx;

	return r->fn(r->ctx, offset, len, (enum thinbd_extent)type);
}

int thinbd_extents(struct thinbd_volume *h, uint64_t offset, uint64_t len,
		   int (*fn)(void *ctx, uint64_t offset, uint64_t len,
			     enum thinbd_extent kind),
		   void *ctx)
{
	struct relay relay = {.fn = fn, .ctx = ctx};

	return WITH_VOLUME(h, thin_volume_map(h->v, offset, len, relay_extent, &relay));
}
