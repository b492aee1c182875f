/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/dm_status.h"

#include "util/checked.h"

#include <inttypes.h>
#include <stdio.h>

/* The kernel's own mark, whatever pool.conf has. */
#define DM_LOW_METADATA 1024

static const char *mode_word(enum thin_pool_mode mode)
{
	switch (mode) {
	case THIN_MODE_WRITE:
		return "rw";
	case THIN_MODE_OUT_OF_DATA:
		return "out_of_data_space";
	default: /* out of metadata, too */
		return "ro";
	}
}

static const char *discard_word(enum thin_discard discard)
{
	switch (discard) {
	case THIN_DISCARD_PASSDOWN:
		return "discard_passdown";
	case THIN_DISCARD_NOPASSDOWN:
		return "no_discard_passdown";
	default:
		return "ignore_discard";
	}
}

char *thin_dm_status(const struct thin_pool_status *s, char line[static THIN_DM_STATUS])
{
	char held[24] = "-";

	if (s->mode == THIN_MODE_FAIL) {
		snprintf(line, THIN_DM_STATUS, "Fail");
		return line;
	}
	if (s->metadata.held_root)
		snprintf(held, sizeof(held), "%" PRIu64, s->metadata.held_root);
	/* What is kept back counts as used. */
	snprintf(line, THIN_DM_STATUS,
		 "%" PRIu64 " %" PRIu64 "/%" PRIu64 " %" PRIu64 "/%" PRIu64
		 " %s %s %s %s %s "
		 "%" PRIu64,
		 s->metadata.transaction_id,
		 s->metadata.nr_metadata_blocks - s->metadata.metadata_free,
		 s->metadata.nr_metadata_blocks, s->metadata.data_allocated,
		 s->metadata.nr_data_blocks, held, mode_word(s->mode),
		 discard_word(s->discard),
		 s->queue_if_full ? "queue_if_no_space" : "error_if_no_space",
		 s->metadata.needs_check ? "needs_check" : "-",
		 thin_min(DM_LOW_METADATA, s->metadata.nr_metadata_blocks / 4));
	return line;
}
