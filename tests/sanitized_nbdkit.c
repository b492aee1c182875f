/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded into nbdkit together with the address sanitizer's runtime, which
 * would hang it otherwise: the runtime gets going at the first malloc(), and
 * that is inside newlocale(), called by a constructor of a library of nbdkit's
 * (p11-kit).  There it looks for this function.  Not finding it is an error
 * with a text, to be translated, which takes the lock that newlocale() holds,
 * and leaves it broken: the next but one to want it waits for ever.
 *
 * So let it find one.
 */
char *swift_demangle(const char *name);

__attribute__((visibility("default"))) char *swift_demangle(const char *name)
{
	(void)name;
	return 0;
}
