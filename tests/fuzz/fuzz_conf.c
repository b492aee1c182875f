/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "../crash/folder.h"
#include "registry/pool_conf.h"
#include "registry/volumes.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Files that anybody may have written.  The first line says what the rest
 * is:
 *
 *   pool            a pool.conf
 *   set KEY=VALUE   a pool.conf, in which that is to be changed
 *   main            a thinbd.conf
 *   volume          a volume's file
 *   registry        a folder: "== NAME" begins a file, .intent among them
 *
 * What is accepted can be written, and is the same when it is read again;
 * what is refused is refused in one line.
 */

#define MAX_TEXT  8192u
#define MAX_FILES 12u

static bool one_line(const struct thin_error *e)
{
	return e->text[0] && !strchr(e->text, '\n');
}

/* --- pool.conf --------------------------------------------------------------- */

static void put(struct folder *f, const char *name, const char *text)
{
	MUST(!thin_files_write(&f->files, name, text, strlen(text), NULL));
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void must_be_same(const struct thin_pool_conf *a, const struct thin_pool_conf *b)
{
	MUST(same_text(a->uuid, b->uuid));
	MUST(same_text(a->metadata, b->metadata));
	MUST(same_text(a->data, b->data));
	MUST(a->metadata_cache == b->metadata_cache);
	MUST(!memcmp(&a->auto_extend_limit, &b->auto_extend_limit, sizeof(uint64_t)));
	MUST(a->when_full == b->when_full && a->discard == b->discard);
	MUST(a->io == b->io && a->direct == b->direct);
	MUST(a->no_space_timeout == b->no_space_timeout);
	MUST(a->commit_interval == b->commit_interval);
}

static bool read_pool(struct folder *f)
{
	_cleanup_pool_conf struct thin_pool_conf conf = {0}, again = {0};
	struct thin_error e = {""};

	if (thin_pool_conf_read(&f->files, &conf, &e)) {
		MUST(one_line(&e));
		return false;
	}
	MUST(!thin_pool_conf_write(&f->files, &conf, NULL));
	MUST(!thin_pool_conf_read(&f->files, &again, NULL));
	must_be_same(&conf, &again);
	return true;
}

static void try_pool(const char *text)
{
	struct folder f;

	folder_init(&f, NULL);
	put(&f, THIN_POOL_CONF, text);
	(void)read_pool(&f);
	folder_fini(&f);
}

static void try_set(const char *setting, const char *text)
{
	struct thin_error e = {""};
	struct folder f;

	folder_init(&f, NULL);
	put(&f, THIN_POOL_CONF, text);
	if (thin_pool_conf_change(&f.files, setting, &e))
		MUST(one_line(&e));
	else
		MUST(read_pool(&f));
	folder_fini(&f);
}

/* --- thinbd.conf ---------------------------------------------------------------- */

static void try_main(const char *text)
{
	char path[64], *pool;
	int fd = memfd_create("main", MFD_CLOEXEC);
	struct thin_error e = {""};

	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (thin_main_conf_pool(path, &pool, &e)) {
		MUST(one_line(&e));
	} else {
		MUST(pool[0] == '/');
		free(pool);
	}
	close(fd);
}

/* --- volumes ---------------------------------------------------------------------- */

static void try_volume(const char *text)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL, *again = NULL;
	char *printed, *reprinted;
	struct thin_error e = {""};
	size_t len;

	if (thin_volume_conf_parse("vm1", "vm1.conf", text, strlen(text), &v, &e)) {
		MUST(one_line(&e));
		return;
	}
	MUST(!thin_volume_conf_print(v, &printed, &len));
	MUST(!thin_volume_conf_parse("vm1", "vm1.conf", printed, len, &again, NULL));
	MUST(!thin_volume_conf_print(again, &reprinted, &len));
	MUST(!strcmp(printed, reprinted));
	free(printed);
	free(reprinted);
}

/* --- the whole folder ------------------------------------------------------------- */

/* Of every second device it can be told that it is there. */
static int exists(void *ctx, uint32_t device, bool *ret)
{
	(void)ctx;
	*ret = device % 2;
	return 0;
}

static void use_registry(struct thin_registry *reg)
{
	static const struct thin_change changes[] = {
		{.kind = THIN_CHANGE_RENAME, .name = "a", .new_name = "z"},
		{.kind = THIN_CHANGE_DELETE, .name = "b", .bury = true},
	};
	_cleanup_volume_list struct thin_volume_list list = {0};

	MUST(!thin_registry_list(reg, &list));
	for (size_t i = 0; i < list.nr; i++) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
		int r = thin_registry_find(reg, list.at[i]->name, &v, NULL);

		MUST(!r == !list.at[i]->problem);
	}
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		(void)!thin_registry_change(reg, &changes[i], 1, NULL);
}

static bool open_and_use(struct folder *f)
{
	struct thin_registry_params params = {
		.files = &f->files,
		.device_exists = exists,
	};
	struct thin_registry *reg;
	struct thin_error e = {""};

	if (thin_registry_open(&params, &reg, &e)) {
		MUST(one_line(&e));
		return false;
	}
	use_registry(reg);
	thin_registry_close(reg);
	return true;
}

/* "== NAME" and the lines behind it. */
static void put_files(struct folder *f, char *text)
{
	char *next = strstr(text, "== ");

	while (next && f->nr < MAX_FILES) {
		char *name = next + 3, *body = strchr(name, '\n');

		if (!body)
			return;
		*body++ = '\0';
		next = strstr(body, "\n== ");
		if (next)
			*next++ = '\0';
		if (*name && strlen(name) < FOLDER_NAME && !strchr(name, '/'))
			put(f, name, body);
	}
}

static void try_registry(char *text)
{
	struct folder f;

	folder_init(&f, NULL);
	put_files(&f, text);
	if (open_and_use(&f)) /* what it has left is its own */
		MUST(open_and_use(&f));
	folder_fini(&f);
}

/* libconfig's scanner forgets a string that has no end. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[MAX_TEXT + 1];
	char *rest;

	size = size < MAX_TEXT ? size : MAX_TEXT;
	memcpy(text, data, size);
	text[size] = '\0';
	rest = strchr(text, '\n');
	if (!rest)
		return 0;
	*rest++ = '\0';
	if (!strcmp(text, "pool"))
		try_pool(rest);
	else if (!strncmp(text, "set ", 4))
		try_set(text + 4, rest);
	else if (!strcmp(text, "main"))
		try_main(rest);
	else if (!strcmp(text, "volume"))
		try_volume(rest);
	else if (!strcmp(text, "registry"))
		try_registry(rest);
	return 0;
}
