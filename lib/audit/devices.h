/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_DEVICES_H
#define THINBD_AUDIT_DEVICES_H

/* The devices of a superblock: details, top level, mappings. */

#include "audit/state.h"

/*
 * Walk and check the trees that @sb names; @held: it is the held copy.
 * The references to the two roots are counted here.
 * Afterwards a->devices has them, and what they map is counted.
 */
void audit_check_devices(struct audit *a, const struct thin_disk_superblock *sb,
			 bool held);

#endif
