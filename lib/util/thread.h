/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_THREAD_H
#define THINBD_UTIL_THREAD_H

#include "util/errors.h"

#include <pthread.h>

/*
 * Start a thread that calls @fn(@arg), under @name (at most 15 characters; for
 * ps and debuggers).  Signals are the program's: the thread is born with all of
 * them blocked, so that it takes none away.
 * Returns 0; -EAGAIN where the system has no thread to give.
 */
THIN_MUST_CHECK int thin_thread_start(pthread_t *ret, const char *name,
				      void *(*fn)(void *arg), void *arg);

#endif
