/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Runs a target over files, without a fuzzer: what was found once is tested
 * for ever.  Arguments are files and folders.
 */

#define INPUT_MAX (8u << 20)

static unsigned long nr_files;

static void run_file(const char *path)
{
	static uint8_t buf[INPUT_MAX];
	FILE *f = fopen(path, "re");
	size_t size;

	if (!f) {
		perror(path);
		exit(1);
	}
	size = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	fprintf(stderr, "%s\n", path); /* the last one named is the culprit */
	(void)LLVMFuzzerTestOneInput(buf, size);
	nr_files++;
}

static void run_path(const char *path);

static void run_folder(const char *path)
{
	struct dirent **names;
	int nr = scandir(path, &names, NULL, alphasort);

	for (int i = 0; i < nr; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			run_path(file);
		free(names[i]);
	}
	if (nr >= 0)
		free(names);
}

static void run_path(const char *path)
{
	struct stat st;

	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		run_folder(path);
	else
		run_file(path);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%lu inputs\n", nr_files);
	return nr_files ? 0 : 1;
}
