/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/epoch.h"

#include <urcu-bp.h>

/*
 * ThreadSanitizer does not see through liburcu, which is not built with it.
 * The happens-before edge that a grace period makes is told to it here.
 */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif

#ifdef THREAD_SANITIZER
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char grace_period;
#define TELL_RELEASE() __tsan_release(&grace_period)
#define TELL_ACQUIRE() __tsan_acquire(&grace_period)
#else
#define TELL_RELEASE() ((void)0)
#define TELL_ACQUIRE() ((void)0)
#endif

void thin_epoch_enter(void)
{
	urcu_bp_read_lock();
}

void thin_epoch_exit(void)
{
	TELL_RELEASE();
	urcu_bp_read_unlock();
}

void thin_epoch_synchronize(void)
{
	urcu_bp_synchronize_rcu();
	TELL_ACQUIRE();
}
