/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_LOAD_H
#define THINBD_REGISTRY_LOAD_H

/* Reading DIR/volumes: the part of opening a registry that changes nothing. */

#include "registry/volumes.h"

/* Zero it, save for @params. */
struct thin_load {
	const struct thin_registry_params *params;

	bool interrupted; /* there was an intent */
	bool happened;	  /* and its change has happened */

	char **leftovers; /* files that mean nothing */
	size_t nr_leftovers;
};

/*
 * Read all files into @ret_table, as they are once the interrupted change,
 * if any, is settled; that one is then in @ret_intent.
 * Returns what thin_registry_open() does.  @l needs a thin_load_fini() only
 * where it was 0.
 */
THIN_MUST_CHECK int thin_load(struct thin_load *l, struct thin_table *ret_table,
			      struct thin_intent *ret_intent, struct thin_error *e);

/* Remove the leftovers.  Those that stay are reported. */
void thin_load_clean(struct thin_load *l);

void thin_load_fini(struct thin_load *l);

#endif
