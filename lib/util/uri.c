/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/uri.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

bool thin_is_uri(const char *where)
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
