/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/storage.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* Which backend a person means by what was typed. */

bool thin_storage_is_uri(const char *where)
{
	static const char *const schemes[] = {
		"nbd://",
		"nbds://",
		"nbd+unix://",
		"nbds+unix://",
	};

	assert(where);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (!strncasecmp(where, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

int thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
		      struct thin_error *e)
{
	if (thin_storage_is_uri(where))
		return thin_storage_open_nbd(where, flags, ret, e);
	return thin_storage_open_file(where, flags, ret, e);
}
