/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_SETTLER_H
#define THINBD_SERVICE_SETTLER_H

/*
 * The settler: a thread that settles the registry (registry/volumes.h) when it
 * has been quiet for a while.  Answers do not wait for it; without it the
 * journal would stay as it is until the pool is closed, and what people do to
 * the volumes' files after a crash would be undone by it.
 */

#include "util/errors.h"

struct thinbd;
struct thin_settler;

/* @ret: thin_settler_free() it.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_settler_new(struct thinbd *t, struct thin_settler **ret);

/* Start the thread.  Returns 0; what the system said.  NULL is a no-op. */
THIN_MUST_CHECK int thin_settler_start(struct thin_settler *s);

/* There is something to settle.  Waits for nothing.  NULL is a no-op. */
void thin_settler_kick(struct thin_settler *s);

/* End the thread; what is left is done when the registry is closed. */
void thin_settler_stop(struct thin_settler *s);
void thin_settler_free(struct thin_settler *s);

#endif
