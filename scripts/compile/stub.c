// The code that runs first in an embedded executable: between the dynamic loader and Deno's own entry point.
//
// The file is a copy of `deno` with this code, some texts and the program's bundle appended (embed.ts). Kernel and
// loader start it as they start Deno. Then this code compares the digest of the appended part (of the whole file, for
// a command that is going to run for long), copies the bundle to a sealed memory file, and enters Deno with the
// arguments `deno run FLAGS /proc/self/fd/N ARGUMENTS…` and an environment of only the names that the program may
// see. There is no second exec, nothing is extracted, nothing is written to any file system.
//
// It has no libc, no data and no relocations: embed.ts takes `.text` as it is, and refuses anything else.
typedef unsigned long u64;
typedef unsigned int u32;

enum {
	LANES = 8, // of the digest, 32 bits each: DIGEST_LANES in embed.ts
	PIECE = 64 * 1024, // read at once; a multiple of the digest's size
	EXIT_DAMAGED = 70, // EX_SOFTWARE
	EXIT_NO_FOLDER = 74, // EX_IOERR
};

// Of the kernel's headers, which are not there for every target.
enum {
	AT_FDCWD = -100,
	ENOENT = 2,
	O_CLOEXEC = 02000000,
	MFD_CLOEXEC = 1,
	MFD_ALLOW_SEALING = 2,
	F_DUPFD_CLOEXEC = 1030,
	F_ADD_SEALS = 1033,
	F_SEAL_ALL = 15, // seal, shrink, grow, write
};

// Filled in by embed.ts, in this order. Texts are offsets from here; a list is texts, and an empty one at its end.
struct header {
	u64 magic;
	u64 address; // of this header in the file's own address space
	u64 entry; // Deno's, likewise
	u64 environ_slot; // of the GOT, likewise: holds the address of libc's `environ`
	u64 offset; // of this header in the file
	u64 bundle_offset, bundle_bytes; // in the file
	u64 digest_offset; // in the file, whose last things are two digests: from the header on, and of all
	u64 arguments; // list: what comes before the script's path
	u64 argument_count;
	u64 kept; // list: variables that stay, `NAME=`, or beginnings of names
	u64 added; // list: `NAME=value`
	u64 added_count;
	u64 self, name, prefix; // "/proc/self/exe"; what the memory file is called; "/proc/self/fd/"
	u64 hidden, hidden_as; // the beginning of a variable, and another of the same length that it gets
	u64 thorough; // the command for which the whole file is checked
	u64 damaged, unavailable, no_folder; // messages
};

#if defined(__x86_64__)
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_lseek = 8, SYS_fcntl = 72, SYS_getcwd = 79, SYS_exit_group = 231, SYS_openat = 257, SYS_memfd_create = 319 };

static inline long call4(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

static inline const struct header *find_header(void)
{
	const struct header *header;
	__asm__("lea header(%%rip), %0" : "=r"(header));
	return header;
}

// The loader leaves its exit function in rdx, where Deno's entry point expects it.
__asm__(".text\n"
	"header: .skip 176\n"
	"entry: mov %rsp, %rdi\n mov %rdx, %rsi\n and $-16, %rsp\n xor %ebp, %ebp\n call start\n");

static inline __attribute__((noreturn)) void enter(u64 entry, u64 *stack, u64 finish)
{
	__asm__ volatile("mov %1, %%rsp\n xor %%ebp, %%ebp\n jmp *%0" ::"r"(entry), "r"(stack), "d"(finish) : "memory");
	__builtin_unreachable();
}
#elif defined(__aarch64__)
enum { SYS_read = 63, SYS_write = 64, SYS_lseek = 62, SYS_close = 57, SYS_getcwd = 17, SYS_fcntl = 25, SYS_exit_group = 94, SYS_openat = 56, SYS_memfd_create = 279 };

static inline long call4(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
		      x3 __asm__("x3") = d;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

static inline const struct header *find_header(void)
{
	const struct header *header;
	__asm__("adr %0, header" : "=r"(header));
	return header;
}

// The loader leaves its exit function in x0, where Deno's entry point expects it.
__asm__(".text\n"
	"header: .skip 176\n"
	"entry: mov x1, x0\n mov x0, sp\n mov x29, #0\n mov x30, #0\n bl start\n");

static inline __attribute__((noreturn)) void enter(u64 entry, u64 *stack, u64 finish)
{
	register u64 x0 __asm__("x0") = finish;
	__asm__ volatile("mov sp, %1\n mov x29, #0\n mov x30, #0\n br %0" ::"r"(entry), "r"(stack), "r"(x0) : "memory");
	__builtin_unreachable();
}
#else
#error "no entry code for this architecture"
#endif

_Static_assert(sizeof(struct header) == 176, "as the entry code reserves it");

static u64 length(const char *text)
{
	u64 n = 0;
	while (text[n])
		n++;
	return n;
}

static __attribute__((noreturn, noinline)) void fail(u64 message, long code)
{
	const char *text = (const char *)find_header() + message;
	call4(SYS_write, 2, (long)text, (long)length(text), 0);
	for (;;)
		call4(SYS_exit_group, code, 0, 0, 0);
}

// Reads up to `size` bytes; fewer only at the end of the file.
static u64 fill(long file, char *buffer, u64 size)
{
	u64 have = 0;
	while (have < size) {
		long n = call4(SYS_read, file, (long)(buffer + have), (long)(size - have), 0);
		if (n <= 0)
			break;
		have += (u64)n;
	}
	return have;
}

// The bundle as a sealed memory file, out of what was checked: what was checked is what runs.
static __attribute__((noinline)) long copy_bundle(int thorough)
{
	const struct header *h = find_header();
	u32 piece[PIECE / sizeof(u32)], lane[LANES];
	long file = call4(SYS_openat, AT_FDCWD, (long)h + (long)h->self, O_CLOEXEC, 0);
	long bundle = call4(SYS_memfd_create, (long)h + (long)h->name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0);
	if (bundle >= 0) {
		// Standard streams may be closed; the bundle must not become one.
		long low = bundle;
		bundle = call4(SYS_fcntl, low, F_DUPFD_CLOEXEC, 3, 0);
		call4(SYS_close, low, 0, 0, 0);
	}
	if (file < 0 || bundle < 0)
		fail(h->unavailable, EXIT_DAMAGED);

	u64 at = thorough ? 0 : h->offset, bundle_end = h->bundle_offset + h->bundle_bytes;
	call4(SYS_lseek, file, (long)at, 0, 0);
	for (int i = 0; i < LANES; i++)
		lane[i] = (u32)i;
	while (at < h->digest_offset) {
		u64 size = h->digest_offset - at < PIECE ? h->digest_offset - at : PIECE;
		if (fill(file, (char *)piece, size) != size)
			fail(h->damaged, EXIT_DAMAGED);
		for (u32 *word = piece; word < piece + size / sizeof(u32); word += LANES) {
#pragma unroll
			for (int i = 0; i < LANES; i++) {
				u32 mixed = lane[i] ^ word[i];
				lane[i] = (mixed << 13 | mixed >> 19) * 0x9e3779b1U;
			}
		}
		u64 from = h->bundle_offset > at ? h->bundle_offset - at : 0;
		u64 to = bundle_end < at ? 0 : bundle_end - at < size ? bundle_end - at : size;
		while (from < to) {
			long n = call4(SYS_write, bundle, (long)piece + (long)from, (long)(to - from), 0);
			if (n <= 0)
				fail(h->unavailable, EXIT_DAMAGED);
			from += (u64)n;
		}
		at += size;
	}
	if (fill(file, (char *)piece, 2 * sizeof lane + 1) != 2 * sizeof lane)
		fail(h->damaged, EXIT_DAMAGED);
	for (int i = 0; i < LANES; i++)
		if (piece[i + (thorough ? LANES : 0)] != lane[i])
			fail(h->damaged, EXIT_DAMAGED);
	call4(SYS_close, file, 0, 0, 0);
	call4(SYS_fcntl, bundle, F_ADD_SEALS, F_SEAL_ALL, 0);
	return bundle;
}

// Whether `text` begins with `beginning`.
static int begins(const char *text, const char *beginning)
{
	while (*beginning && *beginning == *text) {
		beginning++;
		text++;
	}
	return !*beginning;
}

static int is_kept(const char *variable, const char *list)
{
	for (; *list; list += length(list) + 1)
		if (begins(variable, list))
			return 1;
	return 0;
}

// `old` is what the kernel left on the stack: argument count, arguments, 0, environment, 0, auxiliary vector.
__attribute__((used, noreturn)) static void start(u64 *old, u64 finish)
{
	const struct header *h = find_header();
	const char *base = (const char *)h;
	// Deno wants to know the working folder, and says in words of its own that it was removed.
	char folder[64];
	if (call4(SYS_getcwd, (long)folder, sizeof folder, 0, 0) == -ENOENT)
		fail(h->no_folder, EXIT_NO_FOLDER);
	u64 bundle = (u64)copy_bundle(old[0] > 1 && begins((const char *)old[2], base + h->thorough));

	char path[48], *end = path;
	for (const char *text = base + h->prefix; *text;)
		*end++ = *text++;
	u64 divisor = 1;
	while (bundle / divisor >= 10)
		divisor *= 10;
	for (; divisor; divisor /= 10)
		*end++ = (char)('0' + bundle / divisor % 10);
	*end = 0;

	u64 *environment = old + 1 + old[0] + 1, *vector = environment;
	while (*vector++)
		;
	u64 *last = vector;
	while (*last)
		last += 2;
	u64 words = (u64)(last + 2 - old) + h->argument_count + 1 + h->added_count;
	u64 block[words] __attribute__((aligned(16))), *to = block + 1;

	for (const char *text = base + h->arguments; *text; text += length(text) + 1)
		*to++ = (u64)text;
	*to++ = (u64)path;
	for (u64 i = 1; i < old[0]; i++)
		*to++ = old[1 + i];
	block[0] = (u64)(to - block - 1);
	*to++ = 0;

	u64 *first = to;
	for (; *environment; environment++) {
		char *variable = (char *)*environment;
		int hidden = begins(variable, base + h->hidden);
		if (!hidden && !is_kept(variable, base + h->kept))
			continue;
		*to++ = *environment;
		for (const char *as = base + h->hidden_as; hidden && *as;)
			*variable++ = *as++;
	}
	for (const char *text = base + h->added; *text; text += length(text) + 1)
		*to++ = (u64)text;
	*to++ = 0;
	while (vector < last + 2)
		*to++ = *vector++;

	u64 bias = (u64)base - h->address;
	**(u64 ***)(bias + h->environ_slot) = first; // the loader has shown libc the old one
	enter(bias + h->entry, block, finish);
}
