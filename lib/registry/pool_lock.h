/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_POOL_LOCK_H
#define THINBD_REGISTRY_POOL_LOCK_H

/*
 * DIR/lock: who has the pool open.
 *
 * The lock is an OFD lock on the file: it belongs to the open file, so it
 * survives a fork, and it goes when the last process that has it ends, in
 * whatever way.  What the file says (pid, host, command) is for people, and
 * only as true as its owner keeps it.
 */

#include "util/cleanup.h"
#include "util/errors.h"

#define THIN_POOL_LOCK "lock"

struct thin_pool_lock;

/*
 * Lock the pool in folder @dir, at once or not at all.  It should be known
 * to be a pool: the file is made where there is none.
 * @command: how the owner is to be called, "nbdkit"; copied.
 * Returns 0; -EBUSY (@e: pid, host and command of who has it); what the
 * system said.
 * Durable: nothing needs to be.
 */
THIN_MUST_CHECK int thin_pool_lock_take(const char *dir, const char *command,
					struct thin_pool_lock **ret,
					struct thin_error *e);

/*
 * Write anew who has it: in a process that was forked off and has taken over.
 * Returns 0; what the system said, with the lock still held.
 */
THIN_MUST_CHECK int thin_pool_lock_refresh(struct thin_pool_lock *lock,
					   struct thin_error *e);

/*
 * Let go.  NULL is a no-op.  In a process that is not the owner (the parent
 * that forked) only its copy goes, and the lock stays.
 */
void thin_pool_lock_release(struct thin_pool_lock *lock);
THIN_DEFINE_CLEANUP(struct thin_pool_lock *, thin_pool_lock_release);
#define _cleanup_pool_lock _cleanup_(thin_pool_lock_releasep)

#endif
