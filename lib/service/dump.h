/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_DUMP_H
#define THINBD_SERVICE_DUMP_H

#include "service/reply.h"
#include "storage/storage.h"

enum thin_dump_format {
	THIN_DUMP_THIN, /* thin_dump's XML, byte for byte that of 0.9.0 */
	THIN_DUMP_JSON,
};

/*
 * Write the metadata in @metadata, as it was last committed (@held: the
 * metadata snapshot), as parts of a text.  Nobody may commit meanwhile,
 * unless it is the held one.
 * Returns 0; what the walk says (@e: which block, what was wrong);
 * -ECANCELED.
 */
THIN_MUST_CHECK int thin_dump(struct thin_storage *metadata, bool held,
			      enum thin_dump_format format, struct thin_items *items,
			      struct thin_error *e);

#endif
