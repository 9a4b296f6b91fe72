// The runtime of plugins in C: memory, values, and what the server calls. stagepost.h documents it.
#include "stagepost.h"

#define ROOM 256 // bytes in which most fields fit

// --- memory ----------------------------------------------------------------------------------------------------------

static uintptr_t top, end, start;

#ifdef __wasm__
extern unsigned char __heap_base;

static bool more(uintptr_t n) {
  if (end == 0) {
    top = start = (uintptr_t)&__heap_base;
    end = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    return true;
  }
  size_t pages = ((n - end) >> 16) + 1;
  if (pages > 65536 || __builtin_wasm_memory_grow(0, pages) == (size_t)-1) return false;
  end += pages << 16;
  return true;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

// Compilers call these four, even in freestanding code.
__attribute__((no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t n) {
  char *t = to;
  const char *f = from;
  while (n--) *t++ = *f++;
  return to;
}

__attribute__((no_builtin)) void *memmove(void *to, const void *from, size_t n) {
  char *t = to;
  const char *f = from;
  if (t <= f) return memcpy(to, from, n);
  while (n--) t[n] = f[n];
  return to;
}

__attribute__((no_builtin)) void *memset(void *to, int c, size_t n) {
  char *t = to;
  while (n--) *t++ = (char)c;
  return to;
}

__attribute__((no_builtin)) int memcmp(const void *a, const void *b, size_t n) {
  const unsigned char *x = a, *y = b;
  for (; n--; x++, y++)
    if (*x != *y) return *x - *y;
  return 0;
}
#else // for tests of what needs no server
#include <string.h>
static unsigned char heap[64 << 20];
static bool more(uintptr_t n) {
  (void)n;
  if (end != 0) return false;
  top = start = (uintptr_t)heap;
  end = top + sizeof heap;
  return true;
}
#endif

// Room for n bytes at the top, which are not taken yet.
static uint8_t *reserve(size_t n) {
  while (end == 0 || n > end - top)
    if (n > (1u << 30) || !more(top + n)) {
      static const char why[] = "out of memory";
      stagepost_log(SP_LEVEL_ERROR, why, sizeof why - 1);
      __builtin_trap();
    }
  return (uint8_t *)top;
}

static uint8_t *take(size_t n) {
  uint8_t *p = reserve(n);
  top += n;
  return p;
}

void *sp_alloc(size_t n) {
  reserve(n < (1u << 30) ? n + 15 : n);
  top = (top + 15) & ~(uintptr_t)15;
  return take(n);
}

sp_mark sp_here(void) {
  reserve(0);
  return top;
}

void sp_release(sp_mark mark) {
  if (mark >= start && mark <= top) top = mark;
}

// --- text ------------------------------------------------------------------------------------------------------------

sp_text sp_string(const char *s) {
  uint32_t n = 0;
  while (s && s[n]) n++;
  return (sp_text){s, n};
}

bool sp_equal(sp_text a, sp_text b) {
  if (!a.ptr || !b.ptr) return !a.ptr && !b.ptr;
  return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

sp_text sp_slice(sp_text t, uint32_t from, uint32_t to) {
  if (!t.ptr) return t;
  if (to > t.len) to = t.len;
  if (from > to) from = to;
  return (sp_text){t.ptr + from, to - from};
}

bool sp_starts(sp_text t, sp_text with) { return t.ptr && with.ptr && sp_equal(sp_slice(t, 0, with.len), with); }

bool sp_ends(sp_text t, sp_text with) {
  return t.ptr && with.ptr && t.len >= with.len && sp_equal(sp_slice(t, t.len - with.len, t.len), with);
}

int32_t sp_find(sp_text t, sp_text part) {
  if (!t.ptr || !part.ptr) return -1;
  for (uint32_t i = 0; i + part.len <= t.len; i++)
    if (memcmp(t.ptr + i, part.ptr, part.len) == 0) return (int32_t)i;
  return -1;
}

sp_text sp_lower(sp_text t) {
  if (!t.ptr) return t;
  char *p = (char *)take(t.len);
  for (uint32_t i = 0; i < t.len; i++) p[i] = t.ptr[i] >= 'A' && t.ptr[i] <= 'Z' ? (char)(t.ptr[i] + 32) : t.ptr[i];
  return (sp_text){p, t.len};
}

sp_text sp_cut(sp_text t, char separator, sp_text *rest) {
  for (uint32_t i = 0; t.ptr && i < t.len; i++)
    if (t.ptr[i] == separator) {
      *rest = sp_slice(t, i + 1, t.len);
      return sp_slice(t, 0, i);
    }
  *rest = SP_NO_TEXT;
  return t;
}

bool sp_number(sp_text t, int64_t *n) {
  bool negative = t.len > 0 && t.ptr[0] == '-';
  int64_t v = 0;
  if (t.len == negative) return false;
  for (uint32_t i = negative; i < t.len; i++) {
    int digit = t.ptr[i] - '0';
    if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, digit, &v)) return false;
  }
  if (!negative && v == INT64_MIN) return false;
  *n = negative ? v : -v;
  return true;
}

static void put(const char *p, uint32_t n) { memcpy(take(n), p, n); }

// digits writes a number at the end of a buffer of 24 bytes and returns where it begins.
static char *digits(char *last, uint64_t n, unsigned base) {
  do *--last = "0123456789abcdef"[n % base];
  while (n /= base);
  return last;
}

static sp_text format(const char *f, va_list args) {
  sp_mark from = sp_here();
  for (; *f; f++) {
    char buf[24], *last = buf + sizeof buf, *first = last;
    if (*f != '%') {
      put(f, 1);
      continue;
    }
    f++;
    int longs = 0, precision = -1;
    if (f[0] == '.' && f[1] == '*') precision = va_arg(args, int), f += 2;
    for (; *f == 'l' || *f == 'z'; f++) longs += *f == 'l' || sizeof(size_t) > 4 ? 1 : 0;
    if (sizeof(long) == 8 && longs) longs = 2;
    switch (*f) {
    case '%':
      put("%", 1);
      break;
    case 'c':
      *--first = (char)va_arg(args, int);
      break;
    case 's': {
      const char *s = va_arg(args, const char *);
      if (precision < 0) precision = (int)sp_string(s).len;
      put(s, s ? (uint32_t)precision : 0);
      break;
    }
    case 'd':
    case 'i': {
      int64_t n = longs > 1 ? va_arg(args, long long) : longs ? va_arg(args, long) : va_arg(args, int);
      first = digits(last, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10);
      if (n < 0) *--first = '-';
      break;
    }
    case 'u':
    case 'x': {
      uint64_t n = longs > 1 ? va_arg(args, unsigned long long) : longs ? va_arg(args, unsigned long) : va_arg(args, unsigned);
      first = digits(last, n, *f == 'x' ? 16 : 10);
      break;
    }
    default:
      stagepost_log(SP_LEVEL_ERROR, "sp_format knows %s %.*s %c %d %i %u %x and %%", 47);
      __builtin_trap();
    }
    put(first, (uint32_t)(last - first));
  }
  return (sp_text){(const char *)from, (uint32_t)(top - from)};
}

sp_text sp_format(const char *f, ...) {
  va_list args;
  va_start(args, f);
  sp_text t = format(f, args);
  va_end(args);
  return t;
}

_Noreturn void sp_die(const char *f, ...) {
  va_list args;
  va_start(args, f);
  sp_text t = format(f, args);
  stagepost_log(SP_LEVEL_ERROR, t.ptr, t.len);
  __builtin_trap();
}

sp_error sp_fail(const char *f, ...) {
  va_list args;
  va_start(args, f);
  sp_text t = format(f, args);
  va_end(args);
  stagepost_log(SP_LEVEL_ERROR, t.ptr, t.len);
  return SP_ERR_FAILED;
}

// --- values: CBOR (RFC 8949) -----------------------------------------------------------------------------------------

enum { UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, SIMPLE }; // major types, section 3.1

#define DEEPEST 16

// head reads the first bytes of an item, whose argument is n; NULL if they are not there, or say what is not taken here.
static const uint8_t *head(const uint8_t *p, const uint8_t *last, uint8_t *first, uint64_t *n) {
  if (p >= last) return NULL;
  *first = *p++;
  uint8_t info = *first & 31;
  if (info < 24) {
    *n = info;
    return p;
  }
  if (info > 27 || last - p < 1 << (info - 24)) return NULL;
  *n = 0;
  for (int i = 1 << (info - 24); i > 0; i--) *n = *n << 8 | *p++;
  return p;
}

static double half(uint64_t n) { // Appendix D
  int exponent = n >> 10 & 31;
  uint64_t mantissa = n & 1023, bits;
  if (exponent == 0) {
    double v = (double)mantissa / 16777216.0;
    return n & 0x8000 ? -v : v;
  }
  bits = (n & 0x8000) << 48 | mantissa << 42 | (exponent == 31 ? UINT64_C(2047) : (uint64_t)(exponent + 1008)) << 52;
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

static double simple_float(uint8_t info, uint64_t n) {
  double v;
  float f;
  uint32_t small = (uint32_t)n;
  if (info == 25) return half(n);
  if (info == 26) {
    memcpy(&f, &small, sizeof f);
    return f;
  }
  memcpy(&v, &n, sizeof v);
  return v;
}

// item reads one item and what is in it, and returns where it ends; NULL if it is no value.
static const uint8_t *item(const uint8_t *p, const uint8_t *last, sp_value *v, int deep) {
  uint8_t first;
  uint64_t n;
  p = head(p, last, &first, &n);
  if (!p || deep > DEEPEST) return NULL;
  switch (first >> 5) {
  case UNSIGNED:
  case NEGATIVE:
    if (n > INT64_MAX) return NULL;
    *v = sp_of_int(first >> 5 == NEGATIVE ? -1 - (int64_t)n : (int64_t)n);
    return p;
  case BYTES:
  case TEXT:
    if (n > (uint64_t)(last - p)) return NULL;
    *v = (sp_value){.type = first >> 5 == TEXT ? SP_TEXT : SP_BYTES, .text = {(const char *)p, (uint32_t)n}};
    return p + n;
  case LIST:
  case MAP: {
    bool map = first >> 5 == MAP;
    const uint8_t *from = p;
    if (n > (uint64_t)(last - p)) return NULL;
    for (uint64_t i = 0; i < n; i++) {
      sp_value member;
      if (map && (!(p = item(p, last, &member, deep + 1)) || member.type != SP_TEXT)) return NULL;
      if (!(p = item(p, last, &member, deep + 1))) return NULL;
    }
    *v = (sp_value){.type = map ? SP_MAP : SP_LIST, .count = (uint32_t)n, .members = {from, (uint32_t)(p - from)}};
    return p;
  }
  case SIMPLE:
    if (first == 0xf4 || first == 0xf5)
      *v = sp_of_bool(first == 0xf5);
    else if (first == 0xf6 || first == 0xf7) // null and undefined
      *v = SP_NO_VALUE;
    else if (first >= 0xf9 && first <= 0xfb)
      *v = sp_of_float(simple_float(first & 31, n));
    else
      return NULL;
    return p;
  }
  return NULL;
}

bool sp_decode(const void *ptr, uint32_t len, sp_value *v) {
  const uint8_t *p = ptr;
  return item(p, p + len, v, 0) == p + len;
}

static uint8_t *put_head(uint8_t *p, uint8_t major, uint64_t n) {
  int size = n < 24 ? 0 : n < 1 << 8 ? 1 : n < 1 << 16 ? 2 : n <= UINT32_MAX ? 4 : 8;
  *p++ = (uint8_t)(major << 5 | (size == 0 ? (int)n : size == 8 ? 27 : 23 + (size + 2) / 2));
  for (int i = size - 1; i >= 0; i--) *p++ = (uint8_t)(n >> 8 * i);
  return p;
}

// write appends a value to the arena.
static void write(sp_value v) {
  uint8_t *p = reserve(9);
  switch (v.type) {
  case SP_NIL:
    *p++ = 0xf6;
    break;
  case SP_BOOL:
    *p++ = v.boolean ? 0xf5 : 0xf4;
    break;
  case SP_INT:
    p = v.integer < 0 ? put_head(p, NEGATIVE, (uint64_t)(-1 - v.integer)) : put_head(p, UNSIGNED, (uint64_t)v.integer);
    break;
  case SP_FLOAT: {
    uint64_t bits;
    memcpy(&bits, &v.number, sizeof bits);
    *p++ = 0xfb;
    for (int i = 7; i >= 0; i--) *p++ = (uint8_t)(bits >> 8 * i);
    break;
  }
  case SP_TEXT:
  case SP_BYTES:
    top = (uintptr_t)put_head(p, v.type == SP_TEXT ? TEXT : BYTES, v.text.len);
    put(v.text.ptr, v.text.len);
    return;
  case SP_LIST:
  case SP_MAP:
    top = (uintptr_t)put_head(p, v.type == SP_LIST ? LIST : MAP, v.count);
    put((const char *)v.members.ptr, v.members.len);
    return;
  }
  top = (uintptr_t)p;
}

sp_text sp_encode(sp_value v) {
  sp_mark from = sp_here();
  write(v);
  return (sp_text){(const char *)from, (uint32_t)(top - from)};
}

sp_value sp_of_bool(bool v) { return (sp_value){.type = SP_BOOL, .boolean = v}; }
sp_value sp_of_int(int64_t v) { return (sp_value){.type = SP_INT, .integer = v}; }
sp_value sp_of_float(double v) { return (sp_value){.type = SP_FLOAT, .number = v}; }
sp_value sp_of_text(sp_text v) { return (sp_value){.type = v.ptr ? SP_TEXT : SP_NIL, .text = v}; }
sp_value sp_of_bytes(sp_text v) { return (sp_value){.type = v.ptr ? SP_BYTES : SP_NIL, .text = v}; }

sp_value sp_of_list(const sp_value *values, uint32_t n) {
  sp_mark from = sp_here();
  for (uint32_t i = 0; i < n; i++) write(values[i]);
  return (sp_value){.type = SP_LIST, .count = n, .members = {(const uint8_t *)from, (uint32_t)(top - from)}};
}

sp_value sp_of_map(const sp_pair *pairs, uint32_t n) {
  sp_mark from = sp_here();
  uint32_t count = 0;
  for (uint32_t i = 0; i < n; i++)
    if (pairs[i].value.type != SP_NIL) {
      write(sp_of_text(pairs[i].key));
      write(pairs[i].value);
      count++;
    }
  return (sp_value){.type = SP_MAP, .count = count, .members = {(const uint8_t *)from, (uint32_t)(top - from)}};
}

sp_text sp_as_text(sp_value v) { return v.type == SP_TEXT || v.type == SP_BYTES ? v.text : SP_NO_TEXT; }
bool sp_as_bool(sp_value v) { return v.type == SP_BOOL && v.boolean; }

int64_t sp_as_int(sp_value v, int64_t otherwise) {
  if (v.type == SP_INT) return v.integer;
  if (v.type == SP_FLOAT && v.number >= -9007199254740992.0 && v.number <= 9007199254740992.0 && (double)(int64_t)v.number == v.number)
    return (int64_t)v.number;
  return otherwise;
}

double sp_as_float(sp_value v, double otherwise) {
  return v.type == SP_FLOAT ? v.number : v.type == SP_INT ? (double)v.integer : otherwise;
}

sp_iter sp_begin(sp_value v) {
  sp_iter i = {.keys = v.type == SP_MAP};
  if (v.type == SP_LIST || v.type == SP_MAP) i.rest = v.members.ptr, i.end = i.rest + v.members.len;
  return i;
}

// What a value holds was read once before, so it is well formed here.
bool sp_next(sp_iter *i) {
  sp_value key;
  if (i->rest == i->end) return false;
  if (i->keys) {
    i->rest = item(i->rest, i->end, &key, 0);
    i->key = sp_as_text(key);
  }
  i->rest = item(i->rest, i->end, &i->value, 0);
  return true;
}

sp_value sp_get(sp_value map, sp_text key) {
  if (map.type == SP_MAP)
    for (sp_iter i = sp_begin(map); sp_next(&i);)
      if (sp_equal(i.key, key)) return i.value;
  return SP_NO_VALUE;
}

sp_value sp_at(sp_value list, uint32_t index) {
  if (list.type == SP_LIST)
    for (sp_iter i = sp_begin(list); sp_next(&i);)
      if (index-- == 0) return i.value;
  return SP_NO_VALUE;
}

// --- calls -----------------------------------------------------------------------------------------------------------

static uint32_t stage;
static sp_value config;
static sp_mark settled; // where the memory of calls begins

uint32_t sp_stage(void) { return stage; }
sp_value sp_config(void) { return config; }

uint32_t sp_asked_rcpt(void) {
  switch (stage) {
  case SP_STAGE_RCPT:
  case SP_STAGE_ROUTE:
  case SP_STAGE_DELIVERED:
  case SP_STAGE_DEFERRED:
  case SP_STAGE_BOUNCED:
    return 1; // 0 is the recipient that is asked about
  case SP_STAGE_DELIVER:
    return sp_delivery_rcpts((sp_delivery){0}); // which come first
  }
  return 0;
}

sp_verdict sp_unhandled(const char *name) { return sp_fail("plugin.toml has a hook for %s, and the code handles no such stage", name); }

sp_value sp_field(uint32_t object, uint32_t index, uint32_t field) {
  uint32_t room = ROOM;
  sp_value v;
  int32_t n;
  while ((n = stagepost_field(object, index, field, reserve(room), room)) > (int32_t)room) room = (uint32_t)n;
  if (n == SP_ERR_NONE) return SP_NO_VALUE;
  if (n < 0) sp_die("field %u of object %u cannot be read (%d)", field, object, n);
  if (!sp_decode(take((uint32_t)n), (uint32_t)n, &v)) sp_die("field %u of object %u is no value", field, object);
  return v;
}

sp_error sp_edit(uint32_t edit, uint32_t object, uint32_t index, sp_value argument) {
  sp_mark mark = sp_here();
  sp_text raw = sp_encode(argument);
  sp_error e = stagepost_edit(edit, object, index, raw.ptr, raw.len);
  sp_release(mark);
  return e;
}

sp_error sp_call(sp_text service, const sp_value *args, uint32_t n, sp_value *result) {
  sp_mark mark = sp_here();
  while (n > 0 && args[n - 1].type == SP_NIL) n--;
  sp_text raw = sp_encode(sp_of_list(args, n));
  int64_t got = stagepost_svc(service.ptr, service.len, raw.ptr, raw.len);
  sp_release(mark);
  if (got < 0) return (sp_error)got;
  uint32_t handle = (uint32_t)(got >> 32), len = (uint32_t)got;
  sp_error e = 0;
  if (result) {
    uint8_t *p = take(len);
    for (uint32_t off = 0; off < len && e >= 0; off += (uint32_t)e) {
      e = stagepost_svc_read(handle, off, p + off, len - off);
      if (e == 0) e = SP_ERR_FAILED;
    }
    if (e >= 0) e = sp_decode(p, len, result) ? 0 : sp_fail("%.*s: the result is no value", SP_ARG(service));
  }
  stagepost_svc_close(handle);
  return e;
}

static sp_verdict verdict(sp_text raw) { return (sp_verdict)((uint64_t)(uintptr_t)raw.ptr << 32 | raw.len); }

sp_verdict sp_answer(uint32_t kind, const sp_pair *pairs, uint32_t n) {
  sp_value rest = sp_of_map(pairs, n);
  sp_mark from = (sp_mark)put_head(reserve(9), MAP, rest.count + 1);
  sp_text raw = {(const char *)top, 0};
  top = from;
  write(sp_of_text(SP("kind")));
  write(sp_of_int(kind));
  put((const char *)rest.members.ptr, rest.members.len);
  raw.len = (uint32_t)(top - (uintptr_t)raw.ptr);
  return verdict(raw);
}

sp_verdict sp_each(const sp_verdict *verdicts, uint32_t n) {
  sp_mark from = sp_here();
  for (uint32_t i = 0; i < n; i++) {
    if (verdicts[i] < 0) return verdicts[i];
    if (verdicts[i] == SP_NEXT)
      write(SP_NO_VALUE);
    else
      put((const char *)(uintptr_t)(verdicts[i] >> 32), (uint32_t)verdicts[i]);
  }
  sp_value list = {.type = SP_LIST, .count = n, .members = {(const uint8_t *)from, (uint32_t)(top - from)}};
  return sp_answer(SP_VERDICT_EACH, &(sp_pair){SP("verdicts"), list}, 1);
}

static sp_error header(sp_text name, uint32_t n, sp_text *text) {
  uint32_t room = ROOM;
  int32_t len;
  while ((len = stagepost_header(name.ptr, name.len, n, reserve(room), room)) > (int32_t)room) room = (uint32_t)len;
  *text = SP_NO_TEXT;
  if (len < 0) return len == SP_ERR_NONE ? 0 : len;
  *text = (sp_text){(const char *)take((uint32_t)len), (uint32_t)len};
  return 0;
}

sp_error sp_message_header(sp_message message, sp_text name, uint32_t n, sp_text *value) {
  (void)message;
  *value = SP_NO_TEXT;
  return name.len ? header(name, n, value) : 0;
}

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

sp_error sp_message_headers(sp_message message, uint32_t n, sp_header *field) {
  (void)message;
  *field = (sp_header){SP_NO_TEXT, SP_NO_TEXT, SP_NO_TEXT};
  SP_TRY(header(SP_NO_TEXT, n, &field->raw));
  if (!field->raw.ptr) return 0;
  sp_text value, name = sp_cut(field->raw, ':', &value);
  while (name.len > 0 && blank(name.ptr[name.len - 1])) name.len--;
  while (value.len > 0 && blank(value.ptr[0])) value = sp_slice(value, 1, value.len);
  while (value.len > 0 && blank(value.ptr[value.len - 1])) value.len--;
  char *p = (char *)take(value.len);
  uint32_t len = 0;
  for (uint32_t i = 0; i < value.len; i++)
    if (value.ptr[i] != '\n' && !(value.ptr[i] == '\r' && i + 1 < value.len && value.ptr[i + 1] == '\n')) p[len++] = value.ptr[i];
  field->name = name;
  field->value = (sp_text){p, len};
  return 0;
}

sp_error sp_content_read(sp_content content, int64_t offset, void *buf, uint32_t room) {
  return stagepost_content_read(content.index, offset, buf, room);
}

sp_error sp_part_text(sp_part part, sp_text *text) {
  sp_content content = {(1 << 16) + part.index + 1};
  uint32_t len = (uint32_t)sp_content_size(content);
  char *p = (char *)take(len);
  *text = (sp_text){p, 0};
  while (text->len < len) {
    sp_error n = sp_content_read(content, text->len, p + text->len, len - text->len);
    if (n < 0) return n;
    if (n == 0) break;
    text->len += (uint32_t)n;
  }
  return sp_content_read(content, len, 0, 0);
}

sp_error sp_message_rewrite(sp_message message, sp_text (*piece)(sp_text chunk, int last, void *arg), void *arg) {
  const uint32_t room = 64 << 10;
  int64_t off = sp_message_body_start(message), size = sp_content_size((sp_content){0});
  sp_error n = sp_edit(SP_EDIT_REWRITE, SP_OBJECT_MESSAGE, 0, sp_of_text(SP("begin")));
  char *buf = n < 0 ? 0 : (char *)take(room);
  for (int last = 0; n >= 0 && !last;) {
    if ((n = stagepost_content_read(0, off, buf, room)) < 0) break;
    off += n;
    last = off >= size;
    sp_text out = piece((sp_text){buf, (uint32_t)n}, last, arg);
    for (uint32_t at = 0; n >= 0 && at < out.len; at += 1 << 20)
      n = stagepost_content_emit(out.ptr + at, out.len - at < 1 << 20 ? out.len - at : 1 << 20);
  }
  return n < 0 ? n : sp_edit(SP_EDIT_REWRITE, SP_OBJECT_MESSAGE, 0, sp_of_text(SP("end")));
}

// --- what the server calls -------------------------------------------------------------------------------------------

int32_t stagepost_abi(void);
void *stagepost_alloc(uint32_t n);
int32_t stagepost_load(const void *settings, uint32_t n);
int64_t stagepost_hook(uint32_t s);

SP_EXPORT("stagepost_abi") int32_t stagepost_abi(void) { return 0; }

SP_EXPORT("stagepost_alloc") void *stagepost_alloc(uint32_t n) { return sp_alloc(n); }

SP_EXPORT("stagepost_load") int32_t stagepost_load(const void *settings, uint32_t n) {
  if (!sp_decode(settings, n, &config)) return sp_fail("the settings are no value");
  sp_error e = stagepost_plugin.load ? stagepost_plugin.load() : 0;
  settled = sp_here();
  return e;
}

SP_EXPORT("stagepost_hook") int64_t stagepost_hook(uint32_t s) {
  stage = s;
  sp_release(settled);
  return sp_dispatch(&stagepost_plugin, s);
}
