/* The two loops that take the time when a gzip file is rebuilt: the search for matches, and the
 * tokens of a block as bits. They do what isobuilder/delta/deflate/matching.py and bits.py do, to
 * the bit, in the same order and under the same names; there it says what and why. Only these
 * loops are here: everything that decides codes and blocks is Python in both cases. */

#include <stdint.h>
#include <string.h>

enum { LONGEST = 258, AHEAD = LONGEST + 4, NONE = -1, END = 256, LITERALS = 286, DISTANCES = 30 };

typedef struct {
    /* matching.MatchSearch */
    int32_t least, hash_bits, tokens, good, lazy, nice, chain, greedy, go, gzip, cut, window, far, near;
    /* matching.PureMatcher; places are indices into data */
    int64_t steps, place, begin, edge, base, late, ended, candidate;
    int32_t length, distance, waiting, count, seen_end;
    const uint16_t *distance_bases;
    const uint8_t *distance_extra;
    int32_t *head, *prev;
    uint32_t *out;
} Matcher;

/* Another number means another struct or other functions. */
int32_t isobuilder_fast_version(void) { return 1; }

static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

static uint32_t hash(const Matcher *m, const uint8_t *at) {
    uint32_t mask = ((uint32_t)1 << m->hash_bits) - 1;
    if (m->go) {
        uint32_t value = (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
        return (value * 0x1E35A7BDu) >> (32 - m->hash_bits) & mask;
    }
    int one = (m->hash_bits + 2) / 3;
    return ((uint32_t)at[0] << 2 * one ^ (uint32_t)at[1] << one ^ at[2]) & mask;
}

static void insert(Matcher *m, const uint8_t *data, int64_t first, int64_t end) {
    for (int64_t place = first; place < end; place++) {
        uint32_t value = hash(m, data + place);
        m->prev[place & (m->window - 1)] = m->head[value];
        m->head[value] = (int32_t)place;
    }
}

static int64_t candidate_at(Matcher *m, const uint8_t *data, int64_t end, int64_t place) {
    int64_t doubled = 2 * (int64_t)m->window, inside = place - m->base;
    if (inside >= doubled - AHEAD) {
        int moved = m->go ? inside > doubled - AHEAD && end - m->base > doubled
                          : inside > doubled - AHEAD || end - place < AHEAD;
        if (moved && !(m->gzip && m->seen_end))
            m->base += m->window;
    }
    if (end - place < AHEAD)
        m->seen_end = 1;
    if (place < end + m->ended - m->least + 1) {
        uint32_t value = hash(m, data + place);
        m->candidate = m->head[value];
        m->prev[place & (m->window - 1)] = (int32_t)m->candidate;
        m->head[value] = (int32_t)place;
    } else if (!m->go)
        m->candidate = NONE;
    if (m->gzip && place - m->base > doubled - AHEAD)
        return NONE;
    int64_t reach = m->go ? m->window : m->window - AHEAD;
    int64_t lowest = max(place - reach, m->base + !m->go);
    return m->candidate >= lowest ? m->candidate : NONE;
}

/* Returns the distance, 0 without a match; the length is put into best. */
static int64_t longest(Matcher *m, const uint8_t *data, int64_t end, int64_t place,
                       int64_t candidate, int64_t *best) {
    int64_t mask = m->window - 1, oldest = place - m->window;
    int64_t reach = m->go ? m->window : m->window - AHEAD;
    int64_t lowest = max(place - reach, m->base) + !m->go;
    int64_t limit = m->gzip ? LONGEST : min(LONGEST, end - place), nice = min(m->nice, limit);
    int64_t most = *best >= m->good ? m->chain >> 2 : m->chain;
    int64_t distance = 0, length = *best;
    const uint8_t *here = data + place;
    for (int64_t tries = 0; tries < most; tries++) {
        m->steps--;
        const uint8_t *there = data + candidate;
        if (there[length] == here[length] && there[0] == here[0] && there[1] == here[1]) {
            int64_t found = 2;
            while (found < limit && there[found] == here[found])
                found++;
            if (found > length && (found >= m->far || place - candidate <= m->near)) {
                length = found;
                distance = place - candidate;
                if (length >= nice)
                    break;
            }
        }
        if (candidate == oldest)
            break;
        candidate = m->prev[candidate & mask];
        if (candidate < lowest)
            break;
    }
    *best = min(length, end - place);
    if (!distance || (*best < m->far && distance > m->near)) {
        *best = m->least - 1;
        return 0;
    }
    return distance;
}

/* Of a base table: the last entry that is not above value. */
static int symbol_of(const uint16_t *bases, int count, uint32_t value) {
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (bases[middle] <= value)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static int is_full(const Matcher *m, int64_t place) {
    if (m->count == m->tokens)
        return 1;
    if (!m->cut || m->count % 4096)
        return 0;
    int64_t matches = 0, size = 8 * (int64_t)m->count;
    for (int32_t i = 0; i < m->count; i++)
        if (m->out[i] >= END) {
            uint32_t far = m->out[i] & 0xFFFF;
            matches++;
            size += 5 + m->distance_extra[symbol_of(m->distance_bases, DISTANCES, far)];
        }
    return matches < m->count / 2 && size / 8 < (place - m->begin) / 2;
}

static int lazy(Matcher *m, const uint8_t *data, int64_t end, int flush) {
    int64_t place = m->place, length = m->length, distance = m->distance;
    int waiting = m->waiting, full = 0;
    while (!full) {
        int64_t ahead = end - place;
        if (ahead < AHEAD && (!flush || ahead == 0))
            break;
        int64_t candidate = candidate_at(m, data, end, place);
        int64_t before = length, before_distance = distance;
        length = m->least - 1;
        if (candidate >= 0 && before < m->lazy && before < ahead) {
            if (!m->go)
                length = before;
            distance = longest(m, data, end, place, candidate, &length);
            if (m->steps < 0)
                return -1;
        }
        if (before >= m->least && length <= before) {
            m->out[m->count++] = (uint32_t)(before << 16 | before_distance);
            full = is_full(m, place);
            int64_t stop = place + before - 1;
            insert(m, data, place + 1, min(stop, end + m->ended - m->least + 1));
            place = m->edge = stop;
            length = m->least - 1;
            waiting = 0;
        } else {
            if (waiting) {
                m->out[m->count++] = data[place - 1];
                m->edge = place;
                full = is_full(m, place);
            }
            waiting = 1;
            place++;
        }
    }
    if (flush && !full && waiting) {
        m->out[m->count++] = data[place - 1];
        waiting = 0;
    }
    m->place = place;
    m->length = (int32_t)length;
    m->distance = (int32_t)distance;
    m->waiting = waiting;
    return full;
}

static int greedy(Matcher *m, const uint8_t *data, int64_t end, int flush) {
    int64_t place = m->place;
    int full = 0;
    while (!full) {
        int64_t ahead = end - place;
        if (ahead < AHEAD && (!flush || ahead == 0))
            break;
        int64_t candidate = candidate_at(m, data, end, place), length = m->least - 1, distance = 0;
        if (candidate >= 0 && ahead >= m->least) {
            distance = longest(m, data, end, place, candidate, &length);
            if (m->steps < 0)
                return -1;
        }
        if (length >= m->least) {
            m->out[m->count++] = (uint32_t)(length << 16 | distance);
            full = is_full(m, place);
            if (length <= m->lazy && (m->go || m->gzip || ahead - length >= m->least))
                insert(m, data, place + 1, min(place + length, end + m->ended - m->least + 1));
            place += length;
        } else {
            m->out[m->count++] = data[place];
            full = is_full(m, place);
            place++;
        }
        m->edge = place;
    }
    m->place = place;
    return full;
}

/* end: without what gzip finds behind it. Returns 1 for a full block, 0 when more bytes are needed,
 * -1 when too much was tried; the tokens are in out, which has room for one more than a full block has. */
int32_t isobuilder_fast_block(Matcher *m, const uint8_t *data, int64_t end, int32_t flush) {
    if (m->late) {
        int64_t first = m->place - m->late, last = min(m->place, end - m->least + 1);
        insert(m, data, first, last);
        m->late = m->place - max(first, last);
    }
    int full = m->greedy ? greedy(m, data, end, flush) : lazy(m, data, end, flush);
    if (flush && full == 0) {
        m->edge = m->place;
        if (!m->go)
            m->late = min(m->place, m->least - 1);
    }
    return full;
}

void isobuilder_fast_forget(Matcher *m, int64_t count) {
    for (int64_t i = 0; i < (int64_t)1 << m->hash_bits; i++)
        m->head[i] = m->head[i] < count ? NONE : (int32_t)(m->head[i] - count);
    for (int64_t i = 0; i < m->window; i++)
        m->prev[i] = m->prev[i] < count ? NONE : (int32_t)(m->prev[i] - count);
    m->candidate -= count;
    m->place -= count;
    m->edge -= count;
    m->base -= count;
}

/* bases: 29 of lengths, then 30 of distances. */
void isobuilder_fast_frequencies(const uint32_t *tokens, int64_t count, const uint16_t *bases,
                                 uint32_t *literals, uint32_t *distances) {
    for (int64_t i = 0; i < count; i++) {
        if (tokens[i] < END)
            literals[tokens[i]]++;
        else {
            literals[END + 1 + symbol_of(bases, 29, tokens[i] >> 16)]++;
            distances[symbol_of(bases + 29, DISTANCES, tokens[i] & 0xFFFF)]++;
        }
    }
}

static void put(uint8_t *out, uint64_t *value, int *bits, int64_t *size, uint64_t more, int count) {
    *value |= more << *bits;
    *bits += count;
    while (*bits >= 8) {
        out[(*size)++] = (uint8_t)*value;
        *value >>= 8;
        *bits -= 8;
    }
}

/* codes: 286 of literals, then 30 of distances, each code | bits << 16; extra: bits behind the 29
 * symbols of lengths and the 30 of distances. out has room for 6 bytes a token and 8 more. Returns
 * how many bits there are. */
int64_t isobuilder_fast_pack(const uint32_t *tokens, int64_t count, const uint16_t *bases,
                             const uint8_t *extra, const uint32_t *codes, uint8_t *out) {
    uint64_t value = 0;
    int bits = 0;
    int64_t size = 0;
    for (int64_t i = 0; i <= count; i++) {
        uint32_t token = i < count ? tokens[i] : END;
        if (token <= END) {
            put(out, &value, &bits, &size, codes[token] & 0xFFFF, codes[token] >> 16);
            continue;
        }
        uint32_t length = token >> 16, distance = token & 0xFFFF;
        int symbol = symbol_of(bases, 29, length);
        uint32_t code = codes[END + 1 + symbol];
        put(out, &value, &bits, &size, code & 0xFFFF, code >> 16);
        put(out, &value, &bits, &size, length - bases[symbol], extra[symbol]);
        symbol = symbol_of(bases + 29, DISTANCES, distance);
        code = codes[LITERALS + symbol];
        put(out, &value, &bits, &size, code & 0xFFFF, code >> 16);
        put(out, &value, &bits, &size, distance - bases[29 + symbol], extra[29 + symbol]);
    }
    int64_t total = 8 * size + bits;
    if (bits)
        out[size] = (uint8_t)value;
    return total;
}
