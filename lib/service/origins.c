/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Origins: what shows in a volume where nothing was written.
 *
 *  O1  An origin is never written (I6): files are opened read-only and
 *      locked against writers; a volume can be an origin only while it is
 *      read-only, and can not be deleted, resized or rolled back meanwhile.
 *  O2  What an origin was is recorded when a volume gets it, and compared
 *      each time it is opened.
 *  O3  Volumes that have the same origin in the same state share it.  It is
 *      open as long as one of them shows it: they have the references, the list
 *      has none.  So who lets it go when flattening ends, with clients that stay,
 *      has let it go.
 *  O4  An origin that is slow to open (another host) keeps nobody waiting
 *      but those who want that one: no lock is held meanwhile.  Where a server
 *      could not be reached, all who waited are told, and none begins anew:
 *      its time-out is not to be waited for by one after the other.
 */
#include "service/service.h"
#include "service/volume_storage.h"
#include "util/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Waits for an origin that somebody else is opening; on its stack. */
struct waiter {
	struct waiter *next;
	bool told;
	int result;
	struct thin_error why;
};

struct thin_origin_entry {
	struct thin_origin_entry *next;
	struct thinbd *t;
	char *key;
	struct thin_identity identity;
	bool opening;		    /* origins_lock: somebody is at it */
	struct waiter *waiters;	    /* origins_lock: for that to end */
	struct thin_origin *origin; /* without a reference; once it is open */
};

const char *thin_origin_volume(const char *origin)
{
	size_t len = strlen(THIN_ORIGIN_PREFIX);

	return origin && !strncmp(origin, THIN_ORIGIN_PREFIX, len) ? origin + len : NULL;
}

/* Where to open it: paths as they were made absolute. */
static const char *where_of(const struct thin_volume_conf *conf)
{
	return conf->origin_path ? conf->origin_path : conf->origin;
}

/* With the identity, what one is known by: volumes may be renamed. */
static const char *key_of(const struct thin_volume_conf *conf)
{
	return thin_origin_volume(conf->origin) ? THIN_ORIGIN_PREFIX : where_of(conf);
}

static struct thin_identity identity_of(const struct thin_volume_conf *conf)
{
	return (struct thin_identity){
		.size = conf->origin_size,
		.inode = conf->origin_inode,
		.mtime_ns = conf->origin_mtime_ns,
		.ctime_ns = conf->origin_ctime_ns,
	};
}

static bool same_identity(const struct thin_identity *a, const struct thin_identity *b)
{
	return a->size == b->size && a->inode == b->inode && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

uint64_t thin_origin_shows(const struct thin_volume_conf *v)
{
	if (!v->origin)
		return 0;
	return v->origin_overlap ? thin_min(v->origin_overlap, v->origin_size)
				 : v->origin_size;
}

bool thin_same_origin(const struct thin_volume_conf *a, const struct thin_volume_conf *b)
{
	struct thin_identity of_a = identity_of(a), of_b = identity_of(b);

	if (!a->origin || !b->origin)
		return !a->origin && !b->origin;
	return !strcmp(key_of(a), key_of(b)) && same_identity(&of_a, &of_b);
}

/* --- volumes as origins -------------------------------------------------- */

/*
 * Follow the origins from @name down.  Never more than THIN_MAX_ORIGINS of
 * them, and never to @from again: files can be edited by hand.
 */
static int check_chain(struct thinbd *t, const char *name, const char *from,
		       struct thin_error *e)
{
	_cleanup_free char *next = strdup(name);

	for (unsigned depth = 0; next; depth++) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
		if (!strcmp(next, from))
			return thin_error_set(e, -EINVAL, "%s: would be its own origin",
					      from);
		if (depth == THIN_MAX_ORIGINS)
			return thin_error_set(
				e, -EDQUOT,
				"%s: more than %d origins one above the other; "
				"flatten one of them",
				from, THIN_MAX_ORIGINS);
		int r = thin_registry_find(t->registry, next, &v, e);
		if (r)
			return thin_error_default(e, r, "%s: no such volume", next);
		const char *below = thin_origin_volume(v->origin);
		free(next);
		next = below ? strdup(below) : NULL;
	}
	return 0;
}

/* A volume never changes while it is one; its device tells it from others. */
static struct thin_identity volume_identity(const struct thin_volume_conf *v)
{
	return (struct thin_identity){
		.size = v->size,
		.inode = v->device,
		.mtime_ns = v->created * 1000000000,
	};
}

static int find_volume(struct thinbd *t, const char *name,
		       const struct thin_volume_conf **ret, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = t->registry ? thin_registry_find(t->registry, name, &v, e) : -ENOENT;

	if (r)
		return thin_error_default(e, r, "no such volume");
	if (!v->readonly)
		return thin_error_set(
			e, -EINVAL,
			"the volume can be written to; use a snapshot of it, or "
			"`thinbd set %s readonly=true`",
			name);
	*ret = thin_steal(v);
	return 0;
}

/* --- opening ------------------------------------------------------------- */

static int open_volume(struct thinbd *t, const char *name,
		       const struct thin_volume_conf **ret_conf, struct thin_volume **ret,
		       struct thin_error *e)
{
	bool again;
	int r;

	do {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL, *now = NULL;
		r = find_volume(t, name, &v, e);
		if (r)
			return r;
		r = thin_open_conf(t, v, true, ret, e);
		/* It may just be being flattened. */
		again = r && !thin_registry_find(t->registry, name, &now, NULL) &&
			now != v;
		if (!r)
			*ret_conf = thin_steal(v);
	} while (again);
	return r;
}

static int open_volume_storage(struct thinbd *t, const char *name,
			       struct thin_storage **ret, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	struct thin_volume *v;
	int r = open_volume(t, name, &conf, &v, e);

	if (r)
		return r;
	struct thin_identity identity = volume_identity(conf);
	r = thin_volume_storage(v, &identity, ret);
	if (r)
		thin_volume_close(v);
	return r;
}

static int open_storage(struct thinbd *t, const char *where, struct thin_storage **ret,
			struct thin_error *e)
{
	unsigned flags = THIN_STORAGE_READONLY | THIN_STORAGE_NO_WRITERS |
			 (t->conf.io == THIN_IO_SYNC ? THIN_STORAGE_SYNC : 0);
	const char *name = thin_origin_volume(where);

	return name ? open_volume_storage(t, name, ret, e)
		    : thin_storage_open(where, flags, ret, e);
}

static int open_origin(struct thinbd *t, const char *where,
		       const struct thin_identity *identity, struct thin_origin **ret,
		       struct thin_error *e)
{
	_cleanup_storage struct thin_storage *storage = NULL;
	int r = open_storage(t, where, &storage, e);

	if (!r)
		r = thin_origin_open(storage, where, identity, ret, e);
	if (!r)
		(void)thin_steal(storage);
	return r;
}

/* --- sharing ------------------------------------------------------------- */

/* The one, with a reference unless somebody is still opening it; or NULL. */
static struct thin_origin_entry *find_entry(struct thinbd *t, const char *key,
					    const struct thin_identity *identity)
	THIN_REQUIRES(t->origins_lock)
{
	struct thin_origin_entry *entry = t->origins;

	for (; entry; entry = entry->next)
		if (!strcmp(entry->key, key) &&
		    same_identity(&entry->identity, identity) &&
		    (entry->opening || thin_origin_try_ref(entry->origin)))
			break;
	return entry;
}

static void free_entry(struct thin_origin_entry *entry)
{
	free(entry->key);
	free(entry);
}

/* A new entry, which its maker is to open; NULL: no memory. */
static struct thin_origin_entry *add_entry(struct thinbd *t, const char *key,
					   const struct thin_identity *identity)
	THIN_REQUIRES(t->origins_lock)
{
	struct thin_origin_entry *entry = calloc(1, sizeof(*entry));
	char *copy = strdup(key);

	if (!entry || !copy) {
		free(entry);
		free(copy);
		return NULL;
	}
	*entry = (struct thin_origin_entry){
		.next = t->origins,
		.t = t,
		.key = copy,
		.identity = *identity,
		.opening = true,
	};
	t->origins = entry;
	return entry;
}

/* With origins_lock. */
static void tell_waiters(struct thin_origin_entry *entry, int result,
			 const struct thin_error *why)
{
	for (struct waiter *w = entry->waiters; w; w = w->next) {
		w->told = true;
		w->result = result;
		if (why)
			w->why = *why;
	}
	entry->waiters = NULL;
	thin_cond_broadcast(&entry->t->origins_changed);
}

/* From the list, and the memory. */
static void remove_entry(struct thin_origin_entry *entry, int result,
			 const struct thin_error *why)
{
	struct thinbd *t = entry->t;

	thin_mutex_lock(&t->origins_lock);
	struct thin_origin_entry **at = &t->origins;
	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	tell_waiters(entry, result, why);
	thin_mutex_unlock(&t->origins_lock);
	free_entry(entry);
}

/* The last reference to its origin has gone. */
static void forget_entry(void *ctx)
{
	remove_entry(ctx, 0, NULL);
}

/* Volumes have names, which change: who waits for one tries by the name he knows. */
static void could_not_open(struct thin_origin_entry *entry, int result,
			   const struct thin_error *why)
{
	remove_entry(entry, thin_storage_is_uri(entry->key) ? result : 0, why);
}

/* Until it is open, or was found not to open.  The result, where all share it. */
static int wait_until_open(struct thinbd *t, struct thin_origin_entry *entry,
			   struct thin_error *e) THIN_REQUIRES(t->origins_lock)
{
	struct waiter w = {.next = entry->waiters};

	entry->waiters = &w;
	while (!w.told)
		thin_cond_wait(&t->origins_changed, &t->origins_lock);
	if (w.result && e)
		*e = w.why;
	return w.result;
}

/*
 * The origin, with a reference; or, where nobody has it open, an entry that the
 * caller is to open.  0 or -errno.
 */
static int look_up(struct thinbd *t, const char *key,
		   const struct thin_identity *identity, struct thin_origin **ret,
		   struct thin_origin_entry **ret_new, struct thin_error *e)
{
	struct thin_origin_entry *entry;
	int r = 0;

	*ret_new = NULL;
	thin_mutex_lock(&t->origins_lock);
	while (!r && (entry = find_entry(t, key, identity)) && entry->opening)
		r = wait_until_open(t, entry, e);
	if (!r && entry) {
		*ret = entry->origin;
	} else if (!r) {
		*ret_new = add_entry(t, key, identity);
		r = *ret_new ? 0 : -ENOMEM;
	}
	thin_mutex_unlock(&t->origins_lock);
	return r;
}

/* From now on others may have it. */
static void share(struct thin_origin_entry *entry, struct thin_origin *origin)
{
	struct thinbd *t = entry->t;

	thin_origin_on_close(origin, forget_entry, entry);
	thin_mutex_lock(&t->origins_lock);
	entry->origin = origin;
	entry->opening = false;
	tell_waiters(entry, 0, NULL);
	thin_mutex_unlock(&t->origins_lock);
}

static int open_and_share(struct thinbd *t, const char *where,
			  struct thin_origin_entry *entry, struct thin_origin **ret,
			  struct thin_error *e)
{
	int r = open_origin(t, where, &entry->identity, ret, e);

	if (r)
		could_not_open(entry, r, e);
	else
		share(entry, *ret);
	return r;
}

int thin_origin_get(struct thinbd *t, const struct thin_volume_conf *conf,
		    struct thin_origin **ret, struct thin_error *e)
{
	const char *volume = thin_origin_volume(conf->origin);
	struct thin_identity identity = identity_of(conf);
	struct thin_origin_entry *new;
	struct thin_error why = {0};
	int r = 0;

	*ret = NULL;
	if (!conf->origin)
		return 0;
	/* Without this, a circle would wait for itself. */
	if (volume && t->registry)
		r = check_chain(t, volume, conf->name, e);
	if (r)
		return r;
	r = look_up(t, key_of(conf), &identity, ret, &new, &why);
	if (!r && new)
		r = open_and_share(t, where_of(conf), new, ret, &why);
	return r ? thin_error_set(e, r, "%s: its origin %s can not be used: %s",
				  conf->name, conf->origin,
				  why.text[0] ? why.text : thin_strerror(r))
		 : 0;
}

bool thin_origin_is_open(struct thinbd *t, uint32_t device)
{
	struct thin_origin_entry *entry;

	thin_mutex_lock(&t->origins_lock);
	for (entry = t->origins; entry; entry = entry->next)
		if (thin_origin_volume(entry->key) && entry->identity.inode == device)
			break;
	thin_mutex_unlock(&t->origins_lock);
	return entry;
}

/* --- recording ----------------------------------------------------------- */

int thin_origin_of_volume(struct thinbd *t, const char *name, const char *user,
			  struct thin_identity *ret, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = check_chain(t, name, user, e);

	if (!r)
		r = find_volume(t, name, &v, e);
	if (!r)
		*ret = volume_identity(v);
	return r;
}

/* --- who needs it -------------------------------------------------------- */

static int is_origin_of(const char *name, const char *of, struct thin_error *e)
{
	return thin_error_set(e, -EBUSY,
			      "%s: is the origin of %s; flatten or delete that one first",
			      name, of);
}

int thin_check_no_origin(struct thinbd *t, const char *name, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(t->registry, &list);

	for (size_t i = 0; !r && i < list.nr; i++) {
		const char *base = thin_origin_volume(list.at[i]->origin);
		if (base && !strcmp(base, name))
			r = is_origin_of(name, list.at[i]->name, e);
	}
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int thin_check_no_origins(struct thinbd *t, const struct thin_volume_list *those,
			  struct thin_error *e)
{
	_cleanup_free const char **names = calloc(those->nr + 1, sizeof(*names));
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = names ? thin_registry_list(t->registry, &list) : -ENOMEM;

	if (r)
		return r;
	for (size_t i = 0; i < those->nr; i++)
		names[i] = those->at[i]->name;
	qsort(names, those->nr, sizeof(*names), by_name);
	for (size_t i = 0; i < list.nr; i++) {
		const char *base = thin_origin_volume(list.at[i]->origin);
		const char *name = list.at[i]->name;

		if (base && bsearch(&base, names, those->nr, sizeof(*names), by_name) &&
		    !bsearch(&name, names, those->nr, sizeof(*names), by_name))
			return is_origin_of(base, name, e);
	}
	return 0;
}
