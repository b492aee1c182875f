/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_LOAD_H
#define THINBD_REGISTRY_LOAD_H

/* Reading DIR/volumes: the part of opening a registry that changes nothing. */

#include "registry/volumes.h"

/* Zero it, save for @params. */
struct thin_load {
	const struct thin_registry_params *params;

	bool journal; /* there was one */

	char **leftovers; /* files that mean nothing */
	size_t nr_leftovers;
};

/*
 * Read all files into @ret_table, as they are once the changes in the
 * journal, if any, are put in place: those that happened, in @ret_todo.
 * Returns what thin_registry_open() does.  @l needs a thin_load_fini() only
 * where it was 0.
 */
THIN_MUST_CHECK int thin_load(struct thin_load *l, struct thin_table *ret_table,
			      struct thin_intent *ret_todo, struct thin_error *e);

/* Remove the leftovers.  Those that stay are reported. */
void thin_load_clean(struct thin_load *l);

void thin_load_fini(struct thin_load *l);

#endif
