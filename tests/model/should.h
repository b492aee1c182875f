/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_SHOULD_H
#define THINBD_TESTS_MODEL_SHOULD_H

/*
 * What has to be so in every round.
 */

/* Says what is wrong (printf), where, and how to do all of it again; abort()s. */
__attribute__((noreturn, format(printf, 3, 4))) void wrong(const char *file, int line,
							   const char *fmt, ...);

/* Unless @cond holds: wrong(), with what follows it. */
#define SHOULD(cond, ...)                                                                \
	do {                                                                             \
		if (!(cond))                                                             \
			wrong(__FILE__, __LINE__, __VA_ARGS__);                          \
	} while (0)

/* @value is what the pool gave, @want what the model says; both integers. */
#define SHOULD_BE(value, want)                                                           \
	do {                                                                             \
		long long value_ = (long long)(value), want_ = (long long)(want);        \
		if (value_ != want_)                                                     \
			wrong(__FILE__, __LINE__, "%s is %lld, not %lld", #value,        \
			      value_, want_);                                            \
	} while (0)

#endif
