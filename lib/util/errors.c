/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/errors.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int err;
	const char *name;
	const char *sentence; /* NULL: the system's own */
} dictionary[] = {
	{ENODATA, "ENODATA", "not mapped"},
	{ENOSPC, "ENOSPC", "no free data block in the pool"},
	{EDQUOT, "EDQUOT", "a limit was reached"},
	{ENOBUFS, "ENOBUFS", "free metadata is down to the reserve"},
	{EILSEQ, "EILSEQ", "a metadata block is damaged"},
	{ENOTBLK, "ENOTBLK", "a metadata block is in the wrong place"},
	{EUCLEAN, "EUCLEAN", "the metadata needs a check"},
	{EROFS, "EROFS", "read-only"},
	{ESTALE, "ESTALE", "the origin has changed"},
	{EBUSY, "EBUSY", "in use"},
	{ENOENT, "ENOENT", "not found"},
	{EEXIST, "EEXIST", "exists already"},
	{ERANGE, "ERANGE", "out of range"},
	{EINVAL, "EINVAL", "malformed"},
	{EMEDIUMTYPE, "EMEDIUMTYPE", "not a pool"},
	{EWOULDBLOCK, "EWOULDBLOCK", NULL},
	{ESHUTDOWN, "ESHUTDOWN", "the pool has failed; open it again"},
	{EIO, "EIO", NULL},
	{ENOMEM, "ENOMEM", NULL},
	{EACCES, "EACCES", NULL},
	{EPERM, "EPERM", NULL},
	{ENOTSUP, "ENOTSUP", NULL},
	{ETIMEDOUT, "ETIMEDOUT", NULL},
	{EFBIG, "EFBIG", NULL},
	{ENOTDIR, "ENOTDIR", NULL},
	{EISDIR, "EISDIR", NULL},
	{ENAMETOOLONG, "ENAMETOOLONG", NULL},
	{ENOTEMPTY, "ENOTEMPTY", NULL},
	{EPROTO, "EPROTO", NULL},
	{ECANCELED, "ECANCELED", "cancelled"},
	{ECONNREFUSED, "ECONNREFUSED", NULL},
	{EMSGSIZE, "EMSGSIZE", NULL},
};

#define DICTIONARY_LEN (sizeof(dictionary) / sizeof(dictionary[0]))

const char *thin_strerror(int err)
{
	err = abs(err);
	for (size_t i = 0; i < DICTIONARY_LEN; i++)
		if (dictionary[i].err == err && dictionary[i].sentence)
			return dictionary[i].sentence;
	const char *system = strerrordesc_np(err);
	return system ? system : "unknown error";
}

const char *thin_errname(int err)
{
	err = abs(err);
	for (size_t i = 0; i < DICTIONARY_LEN; i++)
		if (dictionary[i].err == err)
			return dictionary[i].name;
	const char *system = strerrorname_np(err);
	return system ? system : "EIO";
}

__attribute__((format(printf, 2, 0))) static void format_line(struct thin_error *e,
							      const char *fmt, va_list ap)
{
	char line[THIN_ERROR_TEXT];

	/* Not in place: what is there may be one of the arguments. */
	vsnprintf(line, sizeof(line), fmt, ap);
	strcpy(e->text, line);
	for (char *c = e->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

int thin_error_set(struct thin_error *e, int err, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return err;
	va_start(ap, fmt);
	format_line(e, fmt, ap);
	va_end(ap);
	return err;
}

int thin_error_default(struct thin_error *e, int err, const char *fmt, ...)
{
	va_list ap;

	if (!e || !err || e->text[0])
		return err;
	va_start(ap, fmt);
	format_line(e, fmt, ap);
	va_end(ap);
	return err;
}
