/* SPDX-License-Identifier: BSD-3-Clause */
#include "cellar.h"

#include "../crash/folder.h"
#include "audit/audit.h"
#include "flat.h"
#include "fuzz.h"
#include "util/limits.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define METADATA (UINT64_C(96) * 4096)
#define DATA	 (UINT64_C(64) * CELLAR_BLOCK)
#define MAX_SIZE (UINT64_C(4) << 20) /* of either, when it grows */

enum part {
	PART_METADATA,
	PART_DATA,
	PART_ORIGIN,
	PARTS,
};

static struct {
	char dir[200];
	bool founded; /* from then on all is in memory */
	struct folder volumes, volumes_now;
	uint8_t *image[PARTS];
	uint64_t size[PARTS];
	struct flat *flat[PARTS];
} cellar;

uint8_t cellar_byte(unsigned volume, uint64_t at)
{
	return (uint8_t)(volume * 64 + at / 512 % 61 + 1);
}

const char *cellar_dir(void)
{
	return cellar.dir;
}

/* --- what the library opens ---------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && !strcmp(text + len - n, end);
}

int __real_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e);
int __wrap_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e);
int __wrap_thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
			   struct thin_error *e)
{
	if (!cellar.founded || !strcmp(path, cellar.dir))
		return __real_thin_files_open(path, flags, ret, e);
	if (!ends_with(path, "/volumes"))
		return thin_error_set(e, -EACCES, "%s: not in here", path);
	*ret = &cellar.volumes_now.files;
	return 0;
}

int __real_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e);
int __wrap_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e);
int __wrap_thin_storage_open(const char *where, unsigned flags, struct thin_storage **ret,
			     struct thin_error *e)
{
	static const char *const names[PARTS] = {"/metadata", "/data", "/origin"};

	if (!cellar.founded)
		return __real_thin_storage_open(where, flags, ret, e);
	for (unsigned i = 0; i < PARTS; i++) {
		if (ends_with(where, names[i])) {
			*ret = flat_reopen(cellar.flat[i]);
			(*ret)->readonly = flags & THIN_STORAGE_READONLY;
			return 0;
		}
	}
	return thin_error_set(e, -EACCES, "%s: not in here", where);
}

int __real_thin_storage_open_file(const char *path, unsigned flags,
				  struct thin_storage **ret, struct thin_error *e);
int __wrap_thin_storage_open_file(const char *path, unsigned flags,
				  struct thin_storage **ret, struct thin_error *e);
int __wrap_thin_storage_open_file(const char *path, unsigned flags,
				  struct thin_storage **ret, struct thin_error *e)
{
	if (!cellar.founded)
		return __real_thin_storage_open_file(path, flags, ret, e);
	return thin_error_set(e, -EACCES, "%s: not in here", path);
}

/* --- founding ---------------------------------------------------------------------- */

/* In which ' stands for ". */
static void __attribute__((format(printf, 1, 2))) ask(const char *fmt, ...)
{
	char text[600], *reply;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	MUST(!thinbd_call(cellar.dir, text, NULL, &reply));
	if (strstr(reply, "\"error\"")) {
		fprintf(stderr, "cellar: %s: %s\n", text, reply);
		exit(1);
	}
	free(reply);
}

static char *path_of(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", cellar.dir, name);
	return path;
}

static void make_origin(void)
{
	FILE *f = fopen(path_of("origin"), "we");

	MUST(f);
	for (uint64_t at = 0; at < CELLAR_SIZE; at++)
		MUST(fputc(cellar_byte(2, at), f) != EOF);
	MUST(!fclose(f));
}

static void fill(const char *name)
{
	struct thinbd_params params = {.dir = cellar.dir, .command = "fuzz"};
	uint8_t bytes[CELLAR_SIZE];
	struct thinbd_volume *v;
	struct thinbd *t;

	for (uint64_t at = 0; at < CELLAR_SIZE; at++)
		bytes[at] = cellar_byte(1, at);
	MUST(!thinbd_open(&params, &t, NULL));
	MUST(!thinbd_volume_open(t, name, false, &v, NULL));
	MUST(!thinbd_write(v, bytes, 0, sizeof(bytes), 0));
	thinbd_volume_close(v);
	MUST(!thinbd_close(t));
}

static void make_pool(void)
{
	ask("{'verb':'init','args':{'data_size':%d,'metadata_size':%d,'block_size':%d,"
	    "'set':['when_full=error','auto_extend_step=0','commit_interval=3600']}}",
	    (int)DATA, (int)METADATA, (int)CELLAR_BLOCK);
	make_origin();
	ask("{'verb':'create','args':{'names':['vm1'],'size':%d}}", (int)CELLAR_SIZE);
	fill("vm1");
	ask("{'verb':'snapshot','args':{'pairs':['vm1','vm1@s']}}");
	ask("{'verb':'create','args':{'names':['vm2'],'origin':'%s/origin'}}",
	    cellar.dir);
}

/* --- into memory ----------------------------------------------------------------------
 */

static void load(enum part part, const char *name)
{
	struct thin_identity identity;
	struct thin_storage *s;

	MUST(!thin_storage_open_file(path_of(name), THIN_STORAGE_READONLY, &s, NULL));
	MUST(!thin_storage_size(s, &cellar.size[part]));
	cellar.image[part] = malloc(cellar.size[part]);
	MUST(cellar.image[part]);
	MUST(!thin_storage_read_at(s, 0, cellar.image[part], cellar.size[part]));
	MUST(!thin_storage_identity(s, &identity));
	thin_storage_close(s);
	cellar.flat[part] = flat_new(MAX_SIZE);
	flat_identify(cellar.flat[part], &identity);
}

static int load_volume(void *ctx, const char *name)
{
	char *text;
	size_t len;

	MUST(!thin_files_read(ctx, name, 1u << 20, &text, &len, NULL));
	MUST(!thin_files_write(&cellar.volumes.files, name, text, len, NULL));
	free(text);
	return 0;
}

static void load_volumes(void)
{
	struct thin_files *f;

	folder_init(&cellar.volumes, NULL);
	MUST(!thin_files_open(path_of("volumes"), 0, &f, NULL));
	MUST(!f->ops->list(f, load_volume, f));
	thin_files_close(f);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void leave(void)
{
	(void)nftw(cellar.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS); /* of no more use */
}

static void found(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(cellar.dir, sizeof(cellar.dir), "%s/thinbd-fuzz-XXXXXX",
		 tmp ? tmp : "/tmp");
	MUST(mkdtemp(cellar.dir));
	MUST(!atexit(leave));
	make_pool();
	load(PART_METADATA, "metadata");
	load(PART_DATA, "data");
	load(PART_ORIGIN, "origin");
	load_volumes();
	cellar.founded = true;
}

void cellar_reset(void)
{
	if (!cellar.founded)
		found();
	else
		folder_fini(&cellar.volumes_now);
	folder_copy(&cellar.volumes_now, &cellar.volumes);
	for (unsigned i = 0; i < PARTS; i++)
		MUST(flat_open(cellar.flat[i], cellar.image[i], cellar.size[i],
			       cellar.size[i]));
}

static int tell_finding(void *ctx, const struct thin_finding *f)
{
	char text[THIN_FINDING_TEXT];

	(void)ctx;
	thin_finding_format(f, NULL, NULL, text, sizeof(text));
	if (f->severity != THIN_AUDIT_NOTE)
		fprintf(stderr, "audit: %s\n", text);
	return 0;
}

void cellar_check(void)
{
	struct thinbd_params params = {.dir = cellar.dir, .command = "fuzz"};
	struct thin_audit_summary sum;
	struct thinbd *t;

	MUST(!thin_audit(flat_reopen(cellar.flat[PART_METADATA]), NULL, tell_finding,
			 NULL, &sum, NULL));
	MUST(sum.complete && !sum.fatal && !sum.nonfatal);
	MUST(!thinbd_open(&params, &t, NULL));
	MUST(!thinbd_close(t));
}
