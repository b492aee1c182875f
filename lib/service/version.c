/* SPDX-License-Identifier: BSD-3-Clause */
/* The small questions of the public header. */
#include "thinbd.h"

#include "storage/storage.h"
#include "util/size.h"
#include "util/uri.h"

#include <errno.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdio.h>

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

bool thinbd_is_uri(const char *where)
{
	return thin_is_uri(where);
}

bool thinbd_has_io_uring(void)
{
	return thin_storage_has_io_uring();
}

static char libnbd_version[32] = "unknown";

static void ask_libnbd(void)
{
	struct nbd_handle *h = nbd_create();
	const char *version = h ? nbd_get_version(h) : NULL;

	if (version)
		snprintf(libnbd_version, sizeof(libnbd_version), "%s", version);
	nbd_close(h);
}

/* The library says it of a handle only; asked once. */
const char *thinbd_libnbd_version(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, ask_libnbd);
	return libnbd_version;
}
