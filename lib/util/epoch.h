/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_EPOCH_H
#define THINBD_UTIL_EPOCH_H

/*
 * Epochs: how long an address may be held (I3).
 *
 * Whoever looks up a block address and then does I/O on it does both
 * between thin_epoch_enter() and thin_epoch_exit().  Whoever wants to give
 * that block to somebody else calls thin_epoch_synchronize() first: when it
 * returns, everybody who was inside when it was called has left.
 *
 * liburcu's "bulletproof" flavour underneath: threads need not register,
 * which is what a plugin needs whose threads belong to nbdkit.
 */

/* Enter; may be nested.  Cost: a few ns.  Blocking inside is allowed. */
void thin_epoch_enter(void);
void thin_epoch_exit(void);

/*
 * Wait for all who are inside now.  Must not be called from inside.
 * Cost: as long as the slowest I/O in flight.
 */
void thin_epoch_synchronize(void);

/* Leave the epoch at the end of the scope. */
struct thin_epoch_scope {
	char nothing;
};

static inline struct thin_epoch_scope thin_epoch_scope_enter(void)
{
	thin_epoch_enter();
	return (struct thin_epoch_scope){0};
}

static inline void thin_epoch_scope_exit(struct thin_epoch_scope *s)
{
	(void)s;
	thin_epoch_exit();
}

#define THIN_EPOCH_SCOPE                                                                 \
	__attribute__((cleanup(thin_epoch_scope_exit),                                   \
		       unused)) struct thin_epoch_scope epoch_scope_ =                   \
		thin_epoch_scope_enter()

#endif
