/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "format/block.h"

#include <string.h>

/*
 * Every byte of a small metadata image changed, one after the other: as the
 * disk would do it, and with the checksum made right again.  What may come of
 * it is in fuzz_meta.c: an error, or a pool that serves; nothing else.
 *
 *   sweep_meta IMAGE [STEP]   every STEPth byte, in turn with the others
 */

#define MAX_IMAGE (1u << 20)

/* The kind of each block, by its checksum; -1 where it is none. */
static int kind_of(const uint8_t *block, uint64_t nr)
{
	for (int kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		if (!thin_block_verify((enum thin_block_kind)kind, block, nr))
			return kind;
	return -1;
}

static void change_byte(uint8_t *image, size_t size, size_t at)
{
	uint8_t *block = image + at / THIN_METADATA_BLOCK * THIN_METADATA_BLOCK;
	uint64_t nr = at / THIN_METADATA_BLOCK;
	uint8_t keep[THIN_METADATA_BLOCK];
	int kind = kind_of(block, nr);

	memcpy(keep, block, sizeof(keep));
	image[at] ^= (uint8_t)(1u << at * 5 % 8);
	(void)LLVMFuzzerTestOneInput(image, size);
	if (kind >= 0) {
		thin_block_seal((enum thin_block_kind)kind, block, nr);
		(void)LLVMFuzzerTestOneInput(image, size);
	}
	memcpy(block, keep, sizeof(keep));
}

int main(int argc, char **argv)
{
	static uint8_t image[MAX_IMAGE];
	size_t size, step = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	FILE *f = argc > 1 ? fopen(argv[1], "re") : NULL;

	if (!f || !step) {
		fprintf(stderr, "sweep_meta IMAGE [STEP]\n");
		return 2;
	}
	size = fread(image, 1, sizeof(image), f);
	(void)fclose(f);
	for (size_t at = 0; at < size; at += step)
		change_byte(image, size, at);
	printf("%zu bytes changed, each in two ways\n", (size + step - 1) / step);
	return 0;
}
