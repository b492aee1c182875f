/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_INTENT_H
#define THINBD_REGISTRY_INTENT_H

/*
 * A change of the registry as a whole: which files are to be put, which are
 * to go, and what decides, after a crash, whether that happened (I12).
 *
 *      thin_place_prepare()   the new files beside the old ones
 *           |
 *           v
 *      thin_journal_append()  all that is to be done, records and names.
 *           |                 From here on the change survives.
 *           v
 *      [commit of the metadata]
 *           |                 No: thin_journal_withdraw()
 *           v
 *      thin_place_move()      renames and removes; later, for many changes
 *                             at once, thin_place_sync(): the journal is
 *                             not needed any more
 *
 * What decides is which devices the metadata has:
 *
 *  D1  Devices that the change makes (create, snapshot, rollback) exist
 *      exactly if it was committed.
 *  D2  Devices that the change removes (delete) exist exactly if it was not.
 *  D3  A change that does neither (rename, set, resize, a tombstone) is the
 *      registry's alone: it happened as soon as it was in the journal.
 *  D4  All devices of a change say the same, because one transaction made
 *      and removed them all.  Where they do not, somebody else has changed
 *      the metadata since, and nothing is guessed.
 *
 * The metadata's transaction id, which LVM uses for this, is left alone: it
 * belongs to whoever sends set_transaction_id, and a repair may lose it;
 * whether a device is there is true by itself.
 */

#include "registry/table.h"

/* The most bytes of an intent's text: 10,000 volumes of ordinary length and more. */
#define THIN_INTENT_BYTES ((size_t)64 << 20)

/* Device ids. */
struct thin_ids {
	uint32_t *at;
	size_t nr;
};

/* Zeroed, it changes nothing. */
struct thin_intent {
	struct thin_volume_conf **put; /* references */
	size_t nr_put;
	char **remove; /* names */
	size_t nr_remove;
	struct thin_ids appear; /* D1 */
	struct thin_ids vanish; /* D2 */
};

void thin_intent_fini(struct thin_intent *in);

/* Does it change anything? */
bool thin_intent_empty(const struct thin_intent *in);

/* Does the metadata have a say (D1, D2), or is it the registry's alone (D3)? */
bool thin_intent_wants_commit(const struct thin_intent *in);

/* Has the metadata this device?  Returns 0, or why that can not be told. */
typedef int thin_device_exists_fn(void *ctx, uint32_t device, bool *ret);

/*
 * What leads from @before to @after.  @ret: fini it.
 * Devices that are already as they will be (a volume whose device was lost
 * is deleted) decide nothing and are left out: so @exists is asked, and the
 * metadata must not be changed yet.
 * Returns 0; -ENOMEM; what @exists returned.
 */
THIN_MUST_CHECK int thin_intent_make(const struct thin_table *before,
				     const struct thin_table *after,
				     thin_device_exists_fn *exists, void *ctx,
				     struct thin_intent *ret);

/* Does it say anything about the volume called @name?  O(length). */
bool thin_intent_touches(const struct thin_intent *in, const char *name);

/*
 * Put @later, which happened after it, together with @in: what is to be done
 * for both.  Not the devices: it is known that both happened.
 * Returns 0 or -ENOMEM, after which @in is of no use.
 * Cost: O(nr * nr) comparisons of names.
 */
THIN_MUST_CHECK int thin_intent_merge(struct thin_intent *in,
				      const struct thin_intent *later);

/* @in as a text; @ret_text: free() it.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_intent_print(const struct thin_intent *in, char **ret_text,
				      size_t *ret_len);

/*
 * Back again: @len bytes of @text, and a NUL after them.  @where is its file.
 * @ret: fini it.  Returns 0; -EINVAL and the like (@e: file, line); -ENOMEM.
 */
THIN_MUST_CHECK int thin_intent_parse(const char *where, const char *text, size_t len,
				      struct thin_intent *ret, struct thin_error *e);

/*
 * Did the change happen?  By D1 to D4.
 * Returns 0; -EUCLEAN (D4, @e names the devices); what @exists returned.
 */
THIN_MUST_CHECK int thin_intent_decide(const struct thin_intent *in,
				       thin_device_exists_fn *exists, void *ctx,
				       bool *ret_happened, struct thin_error *e);

#endif
