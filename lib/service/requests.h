/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_REQUESTS_H
#define THINBD_SERVICE_REQUESTS_H

/* What answers a request: one function a verb. */

#include "service/args.h"
#include "service/json.h"
#include "service/look.h"
#include "service/service.h"

struct thin_call {
	struct thinbd *t;
	const struct thin_args *args;
	const struct thinbd_observer *observer; /* may be NULL */
	struct thin_items *items;		/* of a verb that STREAMS */
	struct thin_looks *looks;		/* at origins */
};

/*
 * Do it.
 * @ret: the result; what is NULL becomes a null.  Left alone by verbs that
 * give items.
 * @e: "NAME: what was wrong, and what to do".
 * Returns 0 or a negative errno; -EAGAIN: nothing was done, and it is to be called
 * again when @c->looks were gone for.
 */
typedef int thin_handler(struct thin_call *c, struct json_object **ret,
			 struct thin_error *e);

/* verbs_create.c, verbs_volume.c, verbs_resize.c, flatten.c */
thin_handler thin_do_create, thin_do_snapshot;
thin_handler thin_do_delete, thin_do_rename, thin_do_set;
thin_handler thin_do_resize, thin_do_rollback;
thin_handler thin_do_flatten;

/* verbs_list.c, verbs_map.c */
thin_handler thin_do_list, thin_do_show;
thin_handler thin_do_map, thin_do_diff;

/* verbs_pool.c, message.c, check.c, restore.c */
thin_handler thin_do_init_again, thin_do_status, thin_do_grow, thin_do_dump;
thin_handler thin_do_message;
thin_handler thin_do_check, thin_do_restore;

/* Report progress; -ECANCELED when nobody wants to hear any more. */
THIN_MUST_CHECK int thin_progress(const struct thin_call *c, uint64_t done,
				  uint64_t total);

/*
 * The record of @name: thin_registry_find(), with a message for the one who
 * asked.
 */
THIN_MUST_CHECK int thin_find(struct thinbd *t, const char *name,
			      const struct thin_volume_conf **ret, struct thin_error *e);

/*
 * Nobody may have the volume open, be it for another request.  0, or -EISCONN: nothing
 * was done, try again.
 */
THIN_MUST_CHECK int thin_check_unused(struct thinbd *t, const struct thin_volume_conf *v,
				      struct thin_error *e);

/*
 * How a change of metadata ended, to the registry's change that was begun for
 * it: finish, cancel, or abandon (I12).  Returns @r.
 */
int thin_settle(struct thinbd *t, int r, const char *name, struct thin_error *e);

/* The smallest device id that neither the metadata nor the registry has. */
THIN_MUST_CHECK int thin_free_device(struct thinbd *t, uint32_t from, uint32_t *ret,
				     struct thin_error *e);

/*
 * What deleting the volumes in @list would free, in bytes.
 * Cost: for several of them, O(mappings of the whole pool).
 */
THIN_MUST_CHECK int thin_would_free(struct thinbd *t, const struct thin_volume_list *list,
				    uint64_t *ret_bytes);

struct thin_deletion {
	bool force;	  /* even where they are in use */
	bool wait;	  /* until all is free, however long that takes */
	uint64_t before;  /* blocks in use then */
	uint64_t freed;	  /* bytes, as far as can be told: others write meanwhile */
	uint64_t freeing; /* bytes mapped that are left to the burier */
};

/*
 * Delete the volumes in @list: first their names, all or none, with t->lock, under
 * which they were found; then, without it, what they have.
 */
THIN_MUST_CHECK int thin_delete_begin(struct thinbd *t,
				      const struct thin_volume_list *list,
				      struct thin_deletion *d, struct thin_error *e)
	THIN_REQUIRES(t->lock);
THIN_MUST_CHECK int thin_delete_end(struct thinbd *t, const struct thin_volume_list *list,
				    struct thin_deletion *d, struct thin_error *e);

/*
 * Do @args on the pool in @dir, which nobody serves, opening it for the call.
 * @ret_busy: somebody else has it open just now.
 * @ret_reply: NULL: no memory.
 */
void thin_call_offline(const char *dir, const struct thin_args *args,
		       const struct thinbd_observer *observer, bool *ret_busy,
		       char **ret_reply);

#endif
