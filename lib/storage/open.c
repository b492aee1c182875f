/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/storage.h"

#include "util/uri.h"

/* Which backend a person means by what was typed. */

bool thin_storage_is_uri(const char *where)
{
	return thin_is_uri(where);
}

int thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
		      struct thin_error *e)
{
	if (thin_storage_is_uri(where))
		return thin_storage_open_nbd(where, flags, ret, e);
	return thin_storage_open_file(where, flags, ret, e);
}
