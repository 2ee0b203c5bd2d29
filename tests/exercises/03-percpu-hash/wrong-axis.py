# hint: the totals are summed over the keys: in to_numpy() a row is a key and a column is a CPU, so sum along axis 1
def answer(m):
    keys, values = m.to_numpy()
    totals = values.sum(axis=0)
    return {int(k): (int(totals[n % len(totals)]), int(values[n].argmax())) for n, k in enumerate(keys)}
