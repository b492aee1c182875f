/* SPDX-License-Identifier: BSD-3-Clause */
/* The small questions of the public header. */
#include "thinbd.h"

#include "util/errors.h"
#include "util/size.h"

#include <errno.h>

const char *thinbd_version(void)
{
	return THINBD_VERSION;
}

const char *thinbd_errname(int err)
{
	return thin_errname(err);
}

int thinbd_parse_size(const char *text, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	int r = thin_size_parse(text, &bytes, NULL);

	if (r)
		return r;
	if (bytes > INT64_MAX)
		return -ERANGE;
	*ret_bytes = bytes;
	return 0;
}
