/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "registry/name.h"
#include "registry/pool_conf.h"
#include "registry/volume_conf.h"
#include "storage/storage.h"
#include "thinbd.h"
#include "util/size.h"

#include <ctype.h>
#include <string.h>

/*
 * A text from anybody, taken for all that a text may be: a name (compared
 * with a second reading of the grammar), a description, a size, an amount,
 * the place of something.  What is accepted can be written and read again.
 */

#define MAX_TEXT 600u

/* --- names, as docs and manual say them ------------------------------------- */

static size_t part_len(const char *s)
{
	size_t n = 0;

	if (!isalnum((unsigned char)s[0]) || (unsigned char)s[0] > 0x7f)
		return 0;
	while (s[n] && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._-",
			      s[n]))
		n++;
	return n > 63 ? 0 : n;
}

static bool is_name(const char *s)
{
	size_t n = part_len(s);

	if (n && s[n] == '@') {
		s += n + 1;
		n = part_len(s);
	}
	return n && !s[n];
}

static void try_parts(const char *text)
{
	char whole[2 * sizeof(struct thin_name_parts)];
	struct thin_name_parts p;

	thin_name_split(text, &p);
	snprintf(whole, sizeof(whole), "%s%s%s", p.base, p.tag[0] ? "@" : "", p.tag);
	MUST(!strcmp(whole, text));
	MUST(thin_name_is_snapshot(text) == (p.tag[0] != 0));
}

static void try_file(const char *text)
{
	char file[THIN_VOLUME_FILE_MAX], name[THIN_NAME_MAX + 1];

	thin_volume_file(text, file);
	MUST(!strchr(file, '/') && file[0] != '.');
	MUST(thin_volume_of_file(file, name));
	MUST(!strcmp(name, text));
}

static void try_name(const char *text)
{
	struct thin_error e = {""};
	bool good = !thin_name_check(text, &e);

	MUST(good == is_name(text));
	MUST(good || (e.text[0] && !strchr(e.text, '\n')));
	if (!good)
		return;
	MUST(!thin_is_tombstone(text));
	try_parts(text);
	try_file(text);
}

/* Any name of a file: what it is the file of is a name. */
static void try_as_file(const char *text)
{
	char name[THIN_NAME_MAX + 1], file[THIN_VOLUME_FILE_MAX];

	if (!thin_volume_of_file(text, name))
		return;
	MUST(!thin_name_check(name, NULL) || thin_is_tombstone(name));
	MUST(!strcmp(thin_volume_file(name, file), text));
}

/* --- texts -------------------------------------------------------------------- */

static void try_text(const char *text)
{
	char buf[THIN_NAME_ESCAPED];
	int r = thin_text_check(text, THIN_DESCRIPTION_MAX, NULL);

	MUST(r || strlen(text) <= THIN_DESCRIPTION_MAX);
	for (const char *p = text; *p && !r; p++)
		MUST((unsigned char)*p >= 0x20 && *p != 0x7f);
	thin_name_escape(text, buf);
	MUST(strlen(buf) < sizeof(buf));
	for (const char *p = buf; *p; p++)
		MUST(*p >= 0x20 && *p < 0x7f);
}

/* --- numbers -------------------------------------------------------------------- */

static void try_size(const char *text)
{
	char buf[THIN_SIZE_TEXT];
	uint64_t size, again;

	if (!thin_size_parse(text, &size, NULL)) {
		MUST(!thin_size_parse(thin_size_exact(size, buf), &again, NULL));
		MUST(again == size);
		MUST(thin_size_human(size, buf)[0]);
	}
	if (!thinbd_parse_size(text, &size))
		MUST(size <= INT64_MAX);
}

static void try_amount(const char *text)
{
	struct thin_amount a, again;
	char buf[THIN_SIZE_TEXT];

	if (thin_amount_parse(text, &a, NULL))
		return;
	MUST(!thin_amount_parse(thin_amount_text(&a, buf), &again, NULL));
	MUST(thin_amount_bytes(&a, 1000000) == thin_amount_bytes(&again, 1000000));
}

/* --- settings and places ----------------------------------------------------------- */

/* As of --set: what was set can be set again. */
static void try_setting(const char *text)
{
	_cleanup_pool_conf struct thin_pool_conf conf = {0};
	struct thin_error e = {""};

	MUST(!thin_pool_conf_init(&conf));
	if (thin_pool_conf_set(&conf, text, &e))
		MUST(e.text[0] && !strchr(e.text, '\n'));
	else
		MUST(!thin_pool_conf_set(&conf, text, NULL));
}

static void try_place(const char *text)
{
	char *path;

	MUST(!thin_pool_conf_locate("/pool", text, &path));
	MUST(thin_storage_is_uri(text) ? !strcmp(path, text) : path[0] == '/');
	free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[MAX_TEXT + 1];

	size = size < MAX_TEXT ? size : MAX_TEXT;
	memcpy(text, data, size);
	text[size] = '\0';
	try_name(text);
	try_as_file(text);
	try_text(text);
	try_size(text);
	try_amount(text);
	try_setting(text);
	try_place(text);
	return 0;
}
