# hint: the totals are nearly right: they went through floating point, which is exact only up to 2**53; stay with integers
def answer(m):
    keys, values = m.to_numpy()
    return {int(k): (int(row.mean() * len(row)), int(row.argmax())) for k, row in zip(keys, values)}
