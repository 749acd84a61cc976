import { BlockList, isIP } from "node:net";

/** A set of address blocks, IPv4 and IPv6. */
export class AddressBlocks {
  readonly #list = new BlockList();
  readonly isEmpty: boolean;

  /** @param blocks CIDR notation, or single addresses; checked when the configuration was read. */
  constructor(blocks: readonly string[]) {
    this.isEmpty = blocks.length === 0;
    for (const block of blocks) {
      const slash = block.indexOf("/");
      const address = slash < 0 ? block : block.slice(0, slash);
      const family = isIP(address) === 6 ? "ipv6" : "ipv4";
      if (slash < 0) this.#list.addAddress(address, family);
      else this.#list.addSubnet(address, Number(block.slice(slash + 1)), family);
    }
  }

  /** An IPv4 client of an IPv6 socket counts as what it is. */
  has(address: string): boolean {
    if (this.isEmpty) return false;
    const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
    const family = isIP(plain);
    return family !== 0 && this.#list.check(plain, family === 6 ? "ipv6" : "ipv4");
  }
}
