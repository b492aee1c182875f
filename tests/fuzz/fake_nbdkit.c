/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_nbdkit.h"

#include "fuzz.h"
#include "thinbd.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define KEPT 64 /* strings, in turn: for longer than one call */

const char *fake_export_name;
int fake_errno;
bool fake_told;

void __attribute__((format(printf, 1, 2))) nbdkit_error(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	MUST(vsnprintf(text, sizeof(text), fmt, args) > 0);
	va_end(args);
	MUST(!strchr(text, '\n'));
	fake_told = true;
}

void __attribute__((format(printf, 1, 2))) nbdkit_debug(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	MUST(vsnprintf(text, sizeof(text), fmt, args) > 0);
	va_end(args);
}

void nbdkit_set_error(int err)
{
	MUST(err > 0);
	fake_errno = err;
}

const char *nbdkit_export_name(void)
{
	return fake_export_name;
}

const char *nbdkit_strdup_intern(const char *text)
{
	static char *kept[KEPT];
	static unsigned next;
	char **slot = &kept[next++ % KEPT];

	free(*slot);
	*slot = strdup(text);
	return *slot;
}

int nbdkit_add_export(struct nbdkit_exports *exports, const char *name,
		      const char *description)
{
	MUST(name && strlen(name) <= THINBD_NAME_MAX);
	MUST(description);
	exports->nr++;
	return 0;
}

/* More strict than nbdkit, which aborts the server over some of this. */
int nbdkit_add_extent(struct nbdkit_extents *x, uint64_t offset, uint64_t len,
		      uint32_t type)
{
	MUST(offset == x->next && len > 0);
	MUST(len <= x->end - offset);
	MUST(!(type & ~(uint32_t)(NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO)));
	memset(x->is_zero + (offset - x->begin), type & NBDKIT_EXTENT_ZERO ? 1 : 0, len);
	x->next += len;
	return 0;
}

/* --- parameters: only pool= is given here --------------------------------------- */

char *nbdkit_absolute_path(const char *path)
{
	MUST(path[0] == '/');
	return strdup(path);
}

int64_t nbdkit_parse_size(const char *text)
{
	uint64_t size;

	return thinbd_parse_size(text, &size) ? -1 : (int64_t)size;
}

int nbdkit_parse_uint32_t(const char *what, const char *text, uint32_t *ret)
{
	(void)what;
	*ret = (uint32_t)strtoul(text, NULL, 0);
	return 0;
}
