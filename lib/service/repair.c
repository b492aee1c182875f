/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/repair.h"

#include "audit/audit.h"
#include "metadata/metadata.h"
#include "registry/files.h"
#include "service/devices.h"
#include "storage/storage.h"
#include "util/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define REPAIRED_SUFFIX ".repaired"

/* --- only the mark ------------------------------------------------------- */

static int clear_mark(const char *path, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	_cleanup_metadata struct thin_metadata *m = NULL;
	int r = thin_storage_open_file(path, THIN_STORAGE_EXCLUSIVE, &s, e);
	struct thin_metadata_params params = {
		.storage = s,
		.cache_bytes = THIN_METADATA_CACHE,
	};

	if (!r)
		r = thin_metadata_open(&params, &m, e);
	return r ? r : thin_metadata_clear_needs_check(m);
}

/* --- thin_repair --------------------------------------------------------- */

/* An empty file for it to write to, as large as @like. */
static int make_room(const char *path, const char *like, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct stat st;

	if (stat(like, &st) < 0)
		return thin_error_set(e, -errno, "%s: %s", like, thin_strerror(errno));
	if (!S_ISREG(st.st_mode))
		return thin_error_set(
			e, -ENOTSUP,
			"%s: is not a file: run thin_repair by hand, from it to "
			"another device",
			like);
	if (unlink(path) < 0 && errno != ENOENT)
		return thin_error_set(e, -errno, "%s: %s", path, thin_strerror(errno));
	int r = thin_storage_open_file(path, THIN_STORAGE_CREATE | THIN_STORAGE_NEW, &s,
				       e);
	return r ? r : thin_storage_resize(s, (uint64_t)st.st_size);
}

/* Also where it is not in a user's PATH. */
static const char *find_tool(void)
{
	static const char *const paths[] = {
		"/usr/sbin/thin_repair",
		"/sbin/thin_repair",
		"/usr/local/sbin/thin_repair",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!access(paths[i], X_OK))
			return paths[i];
	return "thin_repair";
}

/* Runs with its words going nowhere; its status is what counts. */
static int run_tool(const char *from, const char *to, struct thin_error *e)
{
	char *argv[] = {strdup("thin_repair"), strdup("-i"), strdup(from),
			strdup("-o"),	       strdup(to),   NULL};
	char *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid = 0;
	int status = 0;

	int r = posix_spawn_file_actions_init(&actions);
	for (int fd = 0; fd < 3 && !r; fd++)
		r = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR,
						     0);
	if (!r)
		r = posix_spawnp(&pid, find_tool(), &actions, NULL, argv, envp);
	(void)posix_spawn_file_actions_destroy(&actions);
	for (size_t i = 0; argv[i]; i++)
		free(argv[i]);
	if (r)
		return thin_error_set(
			e, -r,
			"thin_repair can not be started (%s); it comes with "
			"thin-provisioning-tools",
			thin_strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (status)
		return thin_error_set(
			e, -EILSEQ,
			"%s: thin_repair could not repair it; nothing was changed", from);
	return 0;
}

/* thin_repair is content with metadata that has nothing in it. */
static int check_devices(const char *path, struct thin_storage *s,
			 const struct thin_volume_list *volumes, struct thin_error *e)
{
	struct thin_devices devices = {0};
	int r = thin_devices_read(&devices, s, e);

	for (size_t i = 0; i < volumes->nr && !r; i++)
		if (!volumes->at[i]->problem &&
		    !thin_devices_has(&devices, volumes->at[i]->device))
			r = thin_error_set(
				e, -EILSEQ,
				"%s: thin_repair can not bring back volume %s; nothing "
				"was changed",
				path, volumes->at[i]->name);
	thin_devices_fini(&devices);
	return r;
}

/* What came out has to be sound and whole, or it is not used. */
static int audit(const char *path, const struct thin_volume_list *volumes,
		 struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct thin_audit_summary summary;
	int r = thin_storage_open_file(path, THIN_STORAGE_READONLY, &s, e);

	if (!r)
		r = thin_audit(s, NULL, NULL, NULL, &summary, e);
	if (!r && summary.fatal + summary.nonfatal)
		r = thin_error_set(
			e, -EILSEQ,
			"%s: what thin_repair made is not sound; nothing was changed",
			path);
	return r ? r : check_devices(path, s, volumes, e);
}

/* Each renaming as a whole; the damaged file keeps its content under a new name. */
static int exchange(const char *path, struct thin_error *e)
{
	_cleanup_free char *for_dir = strdup(path), *for_base = strdup(path);
	_cleanup_free char *repaired = NULL, *kept = NULL;
	_cleanup_files struct thin_files *f = NULL;

	if (!for_dir || !for_base)
		return -ENOMEM;
	const char *name = basename(for_base);
	if (asprintf(&repaired, "%s" REPAIRED_SUFFIX, name) < 0)
		return -ENOMEM;
	if (asprintf(&kept, "%s.damaged-%lld", name, (long long)time(NULL)) < 0)
		return -ENOMEM;
	int r = thin_files_open(dirname(for_dir), 0, &f, e);
	if (!r)
		r = f->ops->sync(f, repaired);
	if (!r)
		r = f->ops->rename(f, name, kept);
	if (!r)
		r = f->ops->rename(f, repaired, name);
	return r ? r : f->ops->sync_folder(f);
}

static int rebuild(const char *path, const struct thin_volume_list *volumes,
		   struct thin_error *e)
{
	_cleanup_free char *repaired = NULL;

	if (asprintf(&repaired, "%s" REPAIRED_SUFFIX, path) < 0) {
		repaired = NULL;
		return -ENOMEM;
	}
	int r = make_room(repaired, path, e);
	if (!r)
		r = run_tool(path, repaired, e);
	if (!r)
		r = audit(repaired, volumes, e);
	if (r) {
		(void)unlink(repaired); /* ours, and of no use */
		return r;
	}
	return exchange(path, e);
}

int thin_repair(const char *dir, const struct thin_pool_conf *conf, bool damaged,
		const struct thin_volume_list *volumes, bool *ret_done,
		struct thin_error *e)
{
	_cleanup_free char *path = NULL;
	int r = thin_pool_conf_locate(dir, conf->metadata, &path);

	if (!r)
		r = damaged ? rebuild(path, volumes, e) : clear_mark(path, e);
	if (r)
		return thin_error_default(e, r, "%s: %s", path ? path : dir,
					  thin_strerror(r));
	*ret_done = true;
	return 0;
}
