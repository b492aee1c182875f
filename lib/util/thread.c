/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/thread.h"

#include <signal.h>

int thin_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all,
			      &before); /* can only fail for a bad HOW */
	r = pthread_create(ret, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r)
		(void)pthread_setname_np(*ret, name);
	return -r;
}
