/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FUZZ_FAKE_NBDKIT_H
#define THINBD_TESTS_FUZZ_FAKE_NBDKIT_H

/*
 * What the plugin calls of nbdkit, so that its callbacks can be called
 * without one: errors are kept, extents and exports are counted and checked.
 */

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The plugin's; nbdkit's macro says so nowhere. */
struct nbdkit_plugin *plugin_init(void);

/* What nbdkit_export_name() says; not copied. */
extern const char *fake_export_name;

/* The last error that was set, and whether one was told in words. */
extern int fake_errno;
extern bool fake_told;

struct nbdkit_exports {
	unsigned nr;
};

/* What may be reported, and what was: in order and without gaps. */
struct nbdkit_extents {
	uint64_t begin, end;
	uint64_t next;	  /* where the next one has to begin */
	uint8_t *is_zero; /* of each byte from @begin on */
};

#endif
